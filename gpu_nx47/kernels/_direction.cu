// Port of cpu_fallback/law/_direction.py.
#include "nx47.cuh"

// The six sums of a tensor, in the order zz, zy, zx, yy, yx, xx; rows of the symmetric matrix are (0 1 2), (1 3 4), (2 4 5).
struct Tensor {
  f32 zz, zy, zx, yy, yx, xx;
};

struct Vector {
  f32 z, y, x;
};

__device__ inline i32 gradient_code(i32 high, i32 low) { return (high - low + 8) >> 4; }

constexpr i32 EDGE = 4;  // of a block, voxels

// One thread a block of voxels. One beyond an incomplete last block is the last one again, and so are its neighbours.
extern "C" __global__ void products(
    const u16* smooth, i64 depth, i64 height, i64 width, i64 blocks_z, i64 blocks_y, i64 blocks_x, i64* sums) {
  const i64 number = blocks_z * blocks_y * blocks_x;
  for (i64 block = thread_index(); block < number; block += thread_count()) {
    const i64 bz = block / blocks_x / blocks_y, by = block / blocks_x % blocks_y, bx = block % blocks_x;
    i32 total[6] = {0, 0, 0, 0, 0, 0};  // of 64 voxels: at most 2^30
    for (i32 voxel = 0; voxel < EDGE * EDGE * EDGE; voxel++) {
      const i64 z = smaller(EDGE * bz + voxel / (EDGE * EDGE), depth - 1);
      const i64 y = smaller(EDGE * by + voxel / EDGE % EDGE, height - 1);
      const i64 x = smaller(EDGE * bx + voxel % EDGE, width - 1);
      const u16* at = smooth + (z * height + y) * width + x;
      const i64 plane = height * width;
      const i32 dz = gradient_code(at[z + 1 < depth ? plane : 0], at[z > 0 ? -plane : 0]);
      const i32 dy = gradient_code(at[y + 1 < height ? width : 0], at[y > 0 ? -width : 0]);
      const i32 dx = gradient_code(at[x + 1 < width ? 1 : 0], at[x > 0 ? -1 : 0]);
      total[0] += dz * dz;
      total[1] += dy * dz;
      total[2] += dx * dz;
      total[3] += dy * dy;
      total[4] += dx * dy;
      total[5] += dx * dx;
    }
    for (i32 k = 0; k < 6; k++) sums[k * number + block] = total[k];
  }
}

// One pass of the box sum along one axis: the sum slides along a thread's stretch.
extern "C" __global__ void box_sum(
    const i64* sums, i64 radius, i64 outer, i64 length, i64 inner, i64 march, i64* out) {
  const Line at = line(outer, length, inner, march);
  if (!at.inside) return;
  const i64* source = sums + at.base;
  i64 total = 0;
  for (i64 i = at.first - radius; i < at.first + radius; i++) total += source[reflect(i, length) * inner];
  for (i64 i = at.first; i < at.stop; i++) {
    total += source[reflect(i + radius, length) * inner];
    out[at.base + i * inner] = total;
    total -= source[reflect(i - radius, length) * inner];
  }
}

__device__ inline f32 dot(f32 az, f32 ay, f32 ax, f32 bz, f32 by, f32 bx) { return (az * bz + ay * by) + ax * bx; }

__device__ inline Tensor squared(Tensor b) {
  Tensor c;
  c.zz = dot(b.zz, b.zy, b.zx, b.zz, b.zy, b.zx);
  c.zy = dot(b.zy, b.yy, b.yx, b.zz, b.zy, b.zx);
  c.zx = dot(b.zx, b.yx, b.xx, b.zz, b.zy, b.zx);
  c.yy = dot(b.zy, b.yy, b.yx, b.zy, b.yy, b.yx);
  c.yx = dot(b.zx, b.yx, b.xx, b.zy, b.yy, b.yx);
  c.xx = dot(b.zx, b.yx, b.xx, b.zx, b.yx, b.xx);
  const f32 trace = (c.zz + c.yy) + c.xx;
  return {c.zz / trace, c.zy / trace, c.zx / trace, c.yy / trace, c.yx / trace, c.xx / trace};
}

__device__ inline Vector row_of_largest(Tensor b) {
  if (b.xx > fmaxf(b.yy, b.zz)) return {b.zx, b.yx, b.xx};
  if (b.yy > b.zz) return {b.zy, b.yy, b.yx};
  return {b.zz, b.zy, b.zx};
}

constexpr i32 STEPS = 24;

__device__ inline i32 step(f32 other, f32 main) {
  return (i32)smaller((i32)((other / main + 1.0f) * 12.0f), STEPS - 1);
}

__device__ inline u16 direction_code(Vector v) {
  const f32 z = fabsf(v.z), y = fabsf(v.y), x = fabsf(v.x);
  if (x > fmaxf(y, z)) return (u16)((2 * STEPS + step(v.z, v.x)) * STEPS + step(v.y, v.x));
  if (y > z) return (u16)((1 * STEPS + step(v.z, v.y)) * STEPS + step(v.x, v.y));
  return (u16)((0 * STEPS + step(v.y, v.z)) * STEPS + step(v.x, v.z));
}

__device__ inline u8 planarity_code(Tensor a, Vector v) {
  const f32 z = dot(a.zz, a.zy, a.zx, v.z, v.y, v.x);
  const f32 y = dot(a.zy, a.yy, a.yx, v.z, v.y, v.x);
  const f32 x = dot(a.zx, a.yx, a.xx, v.z, v.y, v.x);
  const f32 first = dot(v.z, v.y, v.x, z, y, x) / dot(v.z, v.y, v.x, v.z, v.y, v.x);
  const f32 rest = 1.0f - first;
  const f32 diagonal = (a.zz * a.zz + a.yy * a.yy) + a.xx * a.xx;
  const f32 beside = (a.zy * a.zy + a.zx * a.zx) + a.yx * a.yx;
  const f32 squares = (diagonal + 2.0f * beside) - first * first;
  const f32 second = (rest + sqrtf(fmaxf(2.0f * squares - rest * rest, 0.0f))) / 2.0f;
  return (u8)rintf(255.0f * fmaxf(fminf((first - second) / first, 1.0f), 0.0f));
}

// One thread a block of the window, which begins at z0, y0, x0. Blocks whose trace is 0 have no direction: `none`.
extern "C" __global__ void leading(
    const i64* sums, i64 blocks_z, i64 blocks_y, i64 blocks_x, i64 z0, i64 y0, i64 x0, i64 layers, i64 rows, i64 across,
    u16 none, u16* direction, u8* planarity) {
  const i64 all = blocks_z * blocks_y * blocks_x, number = layers * rows * across;
  for (i64 i = thread_index(); i < number; i += thread_count()) {
    const i64 z = z0 + i / across / rows, y = y0 + i / across % rows, x = x0 + i % across;
    const i64* at = sums + (z * blocks_y + y) * blocks_x + x;
    const i64 zz = at[0], yy = at[3 * all], xx = at[5 * all];
    const i64 trace = zz + yy + xx;
    if (trace == 0) {
      direction[i] = none;
      planarity[i] = 0;
      continue;
    }
    const f32 whole = (f32)trace;
    const f32 zy = (f32)at[all], zx = (f32)at[2 * all], yx = (f32)at[4 * all];
    const Tensor a = {(f32)zz / whole, zy / whole, zx / whole, (f32)yy / whole, yx / whole, (f32)xx / whole};
    Tensor b = a;
    for (i32 k = 0; k < 5; k++) b = squared(b);
    const Vector v = row_of_largest(b);
    direction[i] = direction_code(v);
    planarity[i] = planarity_code(a, v);
  }
}
