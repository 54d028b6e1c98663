// Port of cpu_fallback/law/_table.py. A signed code is read as its bit pattern: pattern ^ 0x8000 = code - lowest code.
#include "nx47.cuh"

constexpr i32 COPIES = 8;  // of the 256 counters: a warp of 32 threads has its own

extern "C" __global__ void histogram_bytes(const u8* codes, i64 n, u64* counts) {
  __shared__ u32 tally[COPIES * 256];
  for (i32 i = threadIdx.x; i < COPIES * 256; i += blockDim.x) tally[i] = 0;
  __syncthreads();
  u32* mine = tally + threadIdx.x / 32 % COPIES * 256;
  for (i64 i = thread_index(); i < n; i += thread_count()) atomicAdd(mine + codes[i], 1u);
  __syncthreads();
  for (i32 bin = threadIdx.x; bin < 256; bin += blockDim.x) {
    u64 sum = 0;
    for (i32 copy = 0; copy < COPIES; copy++) sum += tally[copy * 256 + bin];
    if (sum) atomicAdd(counts + bin, sum);
  }
}

// 65,536 counters do not fit in shared memory. A thread counts a stretch, and a run of equal codes in it only once.
extern "C" __global__ void histogram_codes(const u16* codes, i64 n, u32 flip, i64 stretch, u64* counts) {
  const i64 first = thread_index() * stretch, stop = smaller(first + stretch, n);
  for (i64 i = first; i < stop;) {
    const u16 code = codes[i];
    i64 end = i + 1;
    while (end < stop && codes[end] == code) end++;
    atomicAdd(counts + (code ^ flip), (u64)(end - i));
    i = end;
  }
}

extern "C" __global__ void count_true(const u8* mask, i64 n, u64* total) {
  __shared__ u64 sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  u64 mine = 0;
  for (i64 i = thread_index(); i < n; i += thread_count()) mine += mask[i] != 0;
  atomicAdd(&sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(total, sum);
}

// A block a row. `flip` is 0, or the lowest code's size where a pattern is of a signed code.
template <typename T>
__device__ inline void sum_row(const T* codes, const u64* weights, i64 width, u32 flip, u64* out) {
  __shared__ u64 whole;
  if (threadIdx.x == 0) whole = 0;
  __syncthreads();
  const T* const row = codes + blockIdx.x * width;
  u64 mine = 0;
  for (i64 x = threadIdx.x; x < width; x += blockDim.x) mine += (u64)((i64)(row[x] ^ flip) - (i64)flip) * weights[x];
  atomicAdd(&whole, mine);
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = whole;
}

extern "C" __global__ void sum_rows_bytes(const u8* codes, const u64* weights, i64 width, u32 flip, u64* out) {
  sum_row(codes, weights, width, flip, out);
}

extern "C" __global__ void sum_rows_codes(const u16* codes, const u64* weights, i64 width, u32 flip, u64* out) {
  sum_row(codes, weights, width, flip, out);
}

extern "C" __global__ void lookup_bytes(const u8* codes, const u16* table, i64 n, u16* out) {
  for (i64 i = thread_index(); i < n; i += thread_count()) out[i] = table[codes[i]];
}

extern "C" __global__ void lookup_codes(const u16* codes, const u16* table, i64 n, u32 flip, u16* out) {
  for (i64 i = thread_index(); i < n; i += thread_count()) out[i] = table[codes[i] ^ flip];
}

// Byte by byte, so that one kernel serves every dtype: a sample is small.
extern "C" __global__ void gather(const u8* array, const i64* index, i64 n, i64 size, u8* out) {
  for (i64 i = thread_index(); i < n * size; i += thread_count()) out[i] = array[index[i / size] * size + i % size];
}

// bounds[0] starts at the largest number, bounds[1] at the smallest.
template <typename T>
__device__ inline void find_bounds(const T* values, i64 n, i64* bounds) {
  if (thread_index() >= n) return;
  i64 low = values[thread_index()], high = low;
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    low = smaller(low, values[i]);
    high = larger(high, values[i]);
  }
  atomicMin(bounds, low);
  atomicMax(bounds + 1, high);
}

extern "C" __global__ void bounds_i32(const i32* values, i64 n, i64* bounds) { find_bounds(values, n, bounds); }

extern "C" __global__ void bounds_i64(const i64* values, i64 n, i64* bounds) { find_bounds(values, n, bounds); }
