// What the ports share: integer names, thread indices, the border rule, sums over a block.
// Read by NVRTC (no standard headers) and, in the tests, by a C++ compiler through tests/shim/shim.h.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using i16 = short;
using u32 = unsigned int;
using i32 = int;
using u64 = unsigned long long;
using i64 = long long;
using f32 = float;
using f64 = double;

// Grids are one-dimensional: their x alone has 31 bits, and a volume may be long on any axis.
__device__ inline i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline i64 thread_count() { return (i64)gridDim.x * blockDim.x; }

__device__ inline i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

__device__ inline i64 larger(i64 a, i64 b) { return a > b ? a : b; }

// Half-sample symmetric, repeated: cpu_fallback/_border.py. Nearly every index is inside, so that is asked first.
__device__ inline i64 reflect(i64 i, i64 length) {
  if (i >= 0 && i < length) return i;
  const i64 period = 2 * length;
  i %= period;
  if (i < 0) i += period;
  return i < length ? i : period - 1 - i;
}

// A volume seen along one of its axes: `outer` blocks of `length` samples that lie `inner` elements apart. A thread works
// on a group of `size` successive samples; neighbouring threads are neighbours in memory.
struct Line {
  i64 base, first, stop, block;
  bool inside;
};

__device__ inline Line line(i64 outer, i64 length, i64 inner, i64 size) {
  const i64 groups = (length + size - 1) / size;
  const i64 t = thread_index();
  const i64 group = t / inner % groups;
  const i64 block = t / inner / groups;
  const i64 first = group * size;
  return {block * length * inner + t % inner, first, smaller(first + size, length), block, block < outer};
}

// A block's part of a volume: TILE_Y rows of TILE_X voxels, `march` slices. _launch.columns() counts the blocks.
constexpr i32 TILE_X = 32;
constexpr i32 TILE_Y = 8;

struct Column {
  i64 x0, y0, x, y, z, stop;
  bool inside;
};

__device__ inline Column column(i64 depth, i64 height, i64 width, i64 march) {
  const i64 across = (width + TILE_X - 1) / TILE_X;
  const i64 down = (height + TILE_Y - 1) / TILE_Y;
  const i64 block = blockIdx.x;
  Column c;
  c.x0 = block % across * TILE_X;
  c.y0 = block / across % down * TILE_Y;
  c.x = c.x0 + threadIdx.x % TILE_X;
  c.y = c.y0 + threadIdx.x / TILE_X;
  c.z = block / across / down * march;
  c.stop = smaller(c.z + march, depth);
  c.inside = c.x < width && c.y < height;
  return c;
}

// Sum of `value` over the threads before this one; `room` holds blockDim.x numbers. Every thread of the block must call.
__device__ inline u32 exclusive_sum(u32 value, u32* room) {
  const u32 me = threadIdx.x;
  room[me] = value;
  __syncthreads();
  for (u32 reach = 1; reach < blockDim.x; reach *= 2) {
    const u32 before = me >= reach ? room[me - reach] : 0;
    __syncthreads();
    room[me] += before;
    __syncthreads();
  }
  return room[me] - value;
}
