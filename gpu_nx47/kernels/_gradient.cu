// Port of cpu_fallback/law/_gradient.py.
#include "nx47.cuh"

// The six face neighbours of a voxel while a thread marches along z: three slices of its column stay in registers, the
// neighbours on y and x come from the cache. At an edge the symmetric border of radius 1 is the sample itself.
template <typename T>
struct Cross {
  const T* at;
  i64 up, down, left, right, plane;
  i32 below, here, above;

  __device__ Cross(const T* codes, const Column& c, i64 height, i64 width) {
    plane = height * width;
    at = codes + (c.z * height + c.y) * width + c.x;
    up = c.y > 0 ? -width : 0;
    down = c.y + 1 < height ? width : 0;
    left = c.x > 0 ? -1 : 0;
    right = c.x + 1 < width ? 1 : 0;
    here = at[c.z > 0 ? -plane : 0];
    above = at[0];
  }

  // Enter slice z; the voxel and its neighbours along z are then in below, here, above.
  __device__ void enter(i64 z, i64 depth) {
    below = here;
    here = above;
    if (z + 1 < depth) above = at[plane];
  }

  __device__ void leave() { at += plane; }

  __device__ i32 dy() const { return (i32)at[down] - (i32)at[up]; }

  __device__ i32 dx() const { return (i32)at[right] - (i32)at[left]; }
};

extern "C" __global__ void gradient_magnitude(
    const u16* smooth, i64 depth, i64 height, i64 width, i64 march, u16* out) {
  const Column c = column(depth, height, width, march);
  if (!c.inside) return;
  Cross<u16> v(smooth, c, height, width);
  for (i64 z = c.z; z < c.stop; z++) {
    v.enter(z, depth);
    // Differences are below 2^24: exact in float32.
    const f32 dz = (f32)(v.above - v.below), dy = (f32)v.dy(), dx = (f32)v.dx();
    const f32 squares = (dz * dz + dy * dy) + dx * dx;
    out[(z * height + c.y) * width + c.x] = (u16)rintf(sqrtf(squares) * 0.125f);
    v.leave();
  }
}

template <typename T>
__device__ inline void seven_points(
    const T* codes, i32 shift, i64 depth, i64 height, i64 width, i64 march, i16* out) {
  const Column c = column(depth, height, width, march);
  if (!c.inside) return;
  Cross<T> v(codes, c, height, width);
  const i32 half = shift ? 1 << (shift - 1) : 0;
  for (i64 z = c.z; z < c.stop; z++) {
    v.enter(z, depth);
    const i32 sides = (i32)v.at[v.up] + (i32)v.at[v.down] + (i32)v.at[v.left] + (i32)v.at[v.right];
    const i32 total = (v.below + v.above + sides - 6 * v.here + half) >> shift;
    out[(z * height + c.y) * width + c.x] = (i16)larger(smaller(total, 32767), -32768);
    v.leave();
  }
}

extern "C" __global__ void laplacian_u16(
    const u16* codes, i32 shift, i64 depth, i64 height, i64 width, i64 march, i16* out) {
  seven_points(codes, shift, depth, height, width, march, out);
}

extern "C" __global__ void laplacian_i16(
    const i16* codes, i32 shift, i64 depth, i64 height, i64 width, i64 march, i16* out) {
  seven_points(codes, shift, depth, height, width, march, out);
}

// axis: (y, x) of each slice in 1/8 voxel. The ways to it are integers up to 2^24, exact in float32.
extern "C" __global__ void gradient_along(
    const u16* smooth, const i32* axis, i64 origin_y, i64 origin_x, i64 depth, i64 height, i64 width, i64 march,
    i16* out) {
  const Column c = column(depth, height, width, march);
  if (!c.inside) return;
  Cross<u16> v(smooth, c, height, width);
  for (i64 z = c.z; z < c.stop; z++) {
    const f32 ty = (f32)(axis[2 * z] - 8 * (origin_y + c.y));
    const f32 tx = (f32)(axis[2 * z + 1] - 8 * (origin_x + c.x));
    const f32 along = (f32)v.dy() * ty + (f32)v.dx() * tx;
    const f32 distance = fmaxf(sqrtf(ty * ty + tx * tx), 1.0f);
    out[(z * height + c.y) * width + c.x] = (i16)rintf(along / distance * 0.125f);
    v.leave();
  }
}
