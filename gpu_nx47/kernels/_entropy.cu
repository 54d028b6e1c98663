// Port of cpu_fallback/law/_entropy.py: running counters, packed as tightly as each sum allows.
// Of one column of at most 15 voxels: 16 counters of 4 bits in a word. Of 15 columns in a row, at most 225: 8 counters of
// 8 bits, so two words. Of the cube, at most 3375: counters of 16 bits. The order of the bins does not matter to their sum.
#include "nx47.cuh"

constexpr i32 REACH = 7;  // the widest window is 15
constexpr i32 WIDE = TILE_X + 2 * REACH;
constexpr i32 TALL = TILE_Y + 2 * REACH;
constexpr u64 NIBBLES = 0x0f0f0f0f0f0f0f0full;
constexpr u64 BYTES = 0x00ff00ff00ff00ffull;

// The counter of a grey value in word `half` of its column: the bins are halved once more where there are 32 of them.
template <int HALVES>
__device__ inline u64 counter(u32 grey, i32 half) {
  const u32 bin = HALVES == 1 ? grey >> 4 : grey >> 3;
  return (i32)(bin >> 4) == half ? 1ull << 4 * (bin & 15) : 0;
}

__device__ inline u32 look_up(u64 counts, const u32* table) {
  u32 sum = 0;
#pragma unroll
  for (int field = 0; field < 4; field++) sum += table[counts >> 16 * field & 0xffff];
  return sum;
}

template <int HALVES>
__device__ inline void entropy(
    const u8* grey, const u32* table, i32 window, i64 depth, i64 height, i64 width, i64 march, u16* out, u64* columns,
    u64* even, u64* odd) {
  const Column c = column(depth, height, width, march);
  const i32 radius = window / 2, wide = TILE_X + 2 * radius, tall = TILE_Y + 2 * radius;
  const i64 plane = height * width;
  const u32 voxels = window * window * window, highest = table[voxels] + 4 * voxels;
  const i32 first = threadIdx.x / TILE_X * wide + threadIdx.x % TILE_X;
  for (i64 z = c.z; z < c.stop; z++) {
    for (i32 i = threadIdx.x; i < tall * wide; i += blockDim.x) {
      const u8* at = grey + reflect(c.y0 - radius + i / wide, height) * width + reflect(c.x0 - radius + i % wide, width);
      for (i32 half = 0; half < HALVES; half++) {
        u64* count = columns + half * TALL * WIDE + i;
        u64 sum = 0;
        if (z == c.z) {
          for (i64 k = z - radius; k < z + radius; k++) sum += counter<HALVES>(at[reflect(k, depth) * plane], half);
        } else {
          sum = *count - counter<HALVES>(at[reflect(z - radius - 1, depth) * plane], half);
        }
        *count = sum + counter<HALVES>(at[reflect(z + radius, depth) * plane], half);
      }
    }
    __syncthreads();
    u32 total = 0;
    for (i32 half = 0; half < HALVES; half++) {
      const u64* column = columns + half * TALL * WIDE;
      for (i32 i = threadIdx.x; i < TILE_Y * wide; i += blockDim.x) {
        u64 low = 0, high = 0;
        for (i32 k = 0; k < window; k++) {
          low += column[i + k * wide] & NIBBLES;
          high += column[i + k * wide] >> 4 & NIBBLES;
        }
        even[i] = low;
        odd[i] = high;
      }
      __syncthreads();
      u64 counts[4] = {0, 0, 0, 0};
      for (i32 k = 0; k < window; k++) {
        counts[0] += even[first + k] & BYTES;
        counts[1] += even[first + k] >> 8 & BYTES;
        counts[2] += odd[first + k] & BYTES;
        counts[3] += odd[first + k] >> 8 & BYTES;
      }
#pragma unroll
      for (int word = 0; word < 4; word++) total += look_up(counts[word], table);
      if (half + 1 < HALVES) __syncthreads();
    }
    if (c.inside) out[(z * height + c.y) * width + c.x] = (u16)((highest - total) / (8 * voxels));
  }
}

extern "C" __global__ void local_entropy_16(
    const u8* grey, const u32* table, i32 window, i64 depth, i64 height, i64 width, i64 march, u16* out) {
  __shared__ u64 columns[TALL * WIDE];
  __shared__ u64 even[TILE_Y * WIDE];
  __shared__ u64 odd[TILE_Y * WIDE];
  entropy<1>(grey, table, window, depth, height, width, march, out, columns, even, odd);
}

extern "C" __global__ void local_entropy_32(
    const u8* grey, const u32* table, i32 window, i64 depth, i64 height, i64 width, i64 march, u16* out) {
  __shared__ u64 columns[2 * TALL * WIDE];
  __shared__ u64 even[TILE_Y * WIDE];
  __shared__ u64 odd[TILE_Y * WIDE];
  entropy<2>(grey, table, window, depth, height, width, march, out, columns, even, odd);
}
