// Port of cpu_fallback/law/_gradient.py: one march serves all of its kernels.
#include "nx47.cuh"

// Which results are asked for, one bit each: _gradient.py counts them in the same order.
constexpr u32 LENGTH = 1, SHARP = 2, BAND = 4, ALONG = 8;

// A voxel and its six face neighbours while a thread marches along z: three slices of its column stay in registers, the
// neighbours on y and x come from the cache. At an edge the symmetric border of radius 1 is the sample itself.
template <typename T>
struct Cross {
  const T* at;
  i64 up, down, left, right, plane;
  i32 below, here, above;

  __device__ Cross(const T* codes, i64 z, i64 y, i64 x, i64 height, i64 width) {
    plane = height * width;
    at = codes + (z * height + y) * width + x;
    up = y > 0 ? -width : 0;
    down = y + 1 < height ? width : 0;
    left = x > 0 ? -1 : 0;
    right = x + 1 < width ? 1 : 0;
    here = at[z > 0 ? -plane : 0];
    above = at[0];
  }

  // Enter slice z; the voxel and its neighbours along z are then in below, here, above.
  __device__ void enter(i64 z, i64 depth) {
    below = here;
    here = above;
    if (z + 1 < depth) above = at[plane];
  }

  __device__ void leave() { at += plane; }

  __device__ i32 dz() const { return above - below; }

  __device__ i32 dy() const { return (i32)at[down] - (i32)at[up]; }

  __device__ i32 dx() const { return (i32)at[right] - (i32)at[left]; }

  __device__ i32 sides() const { return (i32)at[up] + (i32)at[down] + (i32)at[left] + (i32)at[right]; }
};

// Differences are below 2^24: exact in float32.
__device__ inline u16 length_code(f32 dz, f32 dy, f32 dx) {
  const f32 squares = (dz * dz + dy * dy) + dx * dx;
  return (u16)rintf(sqrtf(squares) * 0.125f);
}

__device__ inline i16 sharp_code(i32 faces, i32 centre, i32 shift) {
  const i32 half = shift ? 1 << (shift - 1) : 0;
  return (i16)larger(smaller((faces - 6 * centre + half) >> shift, 32767), -32768);
}

// The ways to the axis are integers up to 2^24, exact in float32.
__device__ inline i16 along_code(f32 dy, f32 dx, f32 ty, f32 tx) {
  const f32 along = dy * ty + dx * tx;
  const f32 distance = fmaxf(sqrtf(ty * ty + tx * tx), 1.0f);
  return (i16)rintf(along / distance * 0.125f);
}

// The window begins at (z0, y0, x0) of the array and has `slices` x `rows` x `across` voxels. Nothing is read from `wide`
// and `axis`, and nothing written to a result, whose bit is not in `asked`: whatever they point to.
// axis: (y, x) of each slice in 1/8 voxel.
extern "C" __global__ void stencils(
    const u16* narrow, const u16* wide, const i32* axis, u32 asked, i32 shift, i64 origin_y, i64 origin_x, i64 depth,
    i64 height, i64 width, i64 z0, i64 y0, i64 x0, i64 slices, i64 rows, i64 across, i64 march, u16* length, i16* sharp,
    i16* band, i16* along) {
  const Column c = column(slices, rows, across, march);
  if (!c.inside) return;
  const i64 y = y0 + c.y, x = x0 + c.x;
  Cross<u16> v(narrow, z0 + c.z, y, x, height, width);
  for (i64 i = c.z; i < c.stop; i++) {
    const i64 z = z0 + i, out = (i * rows + c.y) * across + c.x;
    v.enter(z, depth);
    if (asked & LENGTH) length[out] = length_code((f32)v.dz(), (f32)v.dy(), (f32)v.dx());
    if (asked & SHARP) sharp[out] = sharp_code(v.below + v.above + v.sides(), v.here, shift);
    if (asked & BAND) band[out] = (i16)((v.here - (i32)wide[(z * height + y) * width + x] + 2) >> 2);
    if (asked & ALONG) {
      const f32 ty = (f32)(axis[2 * z] - 8 * (origin_y + y));
      const f32 tx = (f32)(axis[2 * z + 1] - 8 * (origin_x + x));
      along[out] = along_code((f32)v.dy(), (f32)v.dx(), ty, tx);
    }
    v.leave();
  }
}

extern "C" __global__ void laplacian_i16(
    const i16* codes, i32 shift, i64 depth, i64 height, i64 width, i64 march, i16* out) {
  const Column c = column(depth, height, width, march);
  if (!c.inside) return;
  Cross<i16> v(codes, c.z, c.y, c.x, height, width);
  for (i64 z = c.z; z < c.stop; z++) {
    v.enter(z, depth);
    out[(z * height + c.y) * width + c.x] = sharp_code(v.below + v.above + v.sides(), v.here, shift);
    v.leave();
  }
}
