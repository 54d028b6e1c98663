// Port of cpu_fallback/law/_variance.py: the block marches along z and keeps the sums of its columns in shared memory.
#include "nx47.cuh"

constexpr i32 REACH = 7;  // the widest window is 15
constexpr i32 WIDE = TILE_X + 2 * REACH;
constexpr i32 TALL = TILE_Y + 2 * REACH;

// S2 in the high word, S1 in the low one; both are below 2^32, so a running sum modulo 2^64 leaves its differences right.
__device__ inline u64 moments(u64 value) { return value * value << 32 | value; }

extern "C" __global__ void local_variance(
    const u8* grey, i32 window, f64 scale, i64 depth, i64 height, i64 width, i64 march, u16* out) {
  __shared__ u64 columns[TALL * WIDE];
  __shared__ u64 rows[TILE_Y * WIDE];
  const Column c = column(depth, height, width, march);
  const i32 radius = window / 2, wide = TILE_X + 2 * radius, tall = TILE_Y + 2 * radius;
  const i64 plane = height * width, voxels = window * window * window;
  for (i64 z = c.z; z < c.stop; z++) {
    for (i32 i = threadIdx.x; i < tall * wide; i += blockDim.x) {
      const u8* at = grey + reflect(c.y0 - radius + i / wide, height) * width + reflect(c.x0 - radius + i % wide, width);
      u64 sum = 0;
      if (z == c.z) {
        for (i64 k = z - radius; k < z + radius; k++) sum += moments(at[reflect(k, depth) * plane]);
      } else {
        sum = columns[i] - moments(at[reflect(z - radius - 1, depth) * plane]);
      }
      columns[i] = sum + moments(at[reflect(z + radius, depth) * plane]);
    }
    __syncthreads();
    for (i32 i = threadIdx.x; i < TILE_Y * wide; i += blockDim.x) {
      u64 sum = 0;
      for (i32 k = 0; k < window; k++) sum += columns[i + k * wide];
      rows[i] = sum;
    }
    __syncthreads();
    u64 sum = 0;
    const i32 first = threadIdx.x / TILE_X * wide + threadIdx.x % TILE_X;
    for (i32 k = 0; k < window; k++) sum += rows[first + k];
    if (c.inside) {
      const i64 s1 = sum & 0xffffffff, s2 = sum >> 32;
      out[(z * height + c.y) * width + c.x] = (u16)rint((f64)(voxels * s2 - s1 * s1) * scale);
    }
    // No barrier: the rows are written again behind the next slice's first one.
  }
}
