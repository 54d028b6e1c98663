// Port of cpu_fallback/law/_gaussian.py.
#include "nx47.cuh"

// What a thread sees of a line of samples, `step` elements apart: those at -k and +k of each of its N successive ones. It
// slides over them: N samples cost N + 2 r loads instead of N (2 r + 1). The order of operations of each is the law's.
template <int N, typename In>
struct Slide {
  const In* line;
  i64 first, length, step;
  f32 lo[N], hi[N];

  __device__ Slide(const In* line, i64 first, i64 length, i64 step) : line(line), first(first), length(length), step(step) {
#pragma unroll
    for (int j = 0; j < N; j++) lo[j] = hi[j] = at(first + j);
  }

  __device__ f32 at(i64 i) const { return (f32)line[reflect(i, length) * step]; }

  __device__ void widen(i32 k) {
#pragma unroll
    for (int j = N - 1; j > 0; j--) lo[j] = lo[j - 1];
#pragma unroll
    for (int j = 0; j < N - 1; j++) hi[j] = hi[j + 1];
    lo[0] = at(first - k);
    hi[N - 1] = at(first + N - 1 + k);
  }

  __device__ void begin(f32 weight, f32* acc) const {
#pragma unroll
    for (int j = 0; j < N; j++) acc[j] = weight * lo[j];
  }

  __device__ void add(f32 weight, f32* acc) const {
#pragma unroll
    for (int j = 0; j < N; j++) acc[j] = acc[j] + weight * (lo[j] + hi[j]);
  }

  __device__ void smooth(const f32* taps, i32 radius, f32* acc) {
    begin(taps[0], acc);
    for (i32 k = 1; k <= radius; k++) {
      widen(k);
      add(taps[k], acc);
    }
  }
};

// Of each line `count` samples from `start` on are written; the lines of `in` have `length`.
template <typename In>
__device__ inline const In* line_of(const In* in, const Line& at, i64 length, i64 inner, i64 count) {
  return in + at.base + at.block * (length - count) * inner;
}

template <int N>
__device__ inline void put(const f32* acc, const Line& at, i64 inner, f32* out) {
#pragma unroll
  for (int j = 0; j < N; j++) {
    if (at.first + j < at.stop) out[at.base + (at.first + j) * inner] = acc[j];
  }
}

template <int N, typename In>
__device__ inline void pass(
    const In* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, i64 start, i64 count, f32* out) {
  const Line at = line(outer, count, inner, N);
  if (!at.inside) return;
  f32 acc[N];
  Slide<N, In>(line_of(in, at, length, inner, count), start + at.first, length, inner).smooth(taps, radius, acc);
  put<N>(acc, at, inner, out);
}

extern "C" __global__ void gaussian_z(
    const u8* grey, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, i64 start, i64 count, f32* out) {
  pass<4>(grey, taps, radius, outer, length, inner, start, count, out);
}

extern "C" __global__ void gaussian_y(
    const f32* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, i64 start, i64 count, f32* out) {
  pass<4>(in, taps, radius, outer, length, inner, start, count, out);
}

// Two kernels at once, the wider one first: the grey values are read for it, and the narrower one rides along.
extern "C" __global__ void gaussian_z_two(
    const u8* grey, const f32* taps, i32 radius, const f32* narrow, i32 reach, i64 outer, i64 length, i64 inner, i64 start,
    i64 count, f32* out, f32* out_narrow) {
  const Line at = line(outer, count, inner, 4);
  if (!at.inside) return;
  f32 acc[4], also[4];
  Slide<4, u8> seen(line_of(grey, at, length, inner, count), start + at.first, length, inner);
  seen.begin(taps[0], acc);
  seen.begin(narrow[0], also);
  for (i32 k = 1; k <= radius; k++) {
    seen.widen(k);
    seen.add(taps[k], acc);
    if (k <= reach) seen.add(narrow[k], also);
  }
  put<4>(acc, at, inner, out);
  put<4>(also, at, inner, out_narrow);
}

// The only rounding to a code, half to even.
__device__ inline u16 code(f32 acc) { return (u16)fmaxf(fminf(rintf(acc * 256.0f), 65280.0f), 0.0f); }

constexpr i32 ROWS = 8;
constexpr i32 ACROSS = 192;
constexpr i32 REACH = 32;  // the widest kernel that fits; beyond it the passes along y and x are launched one by one

// The passes along y and x at once, of a window of `rows` x `across` from (y0, x0) on in each slice: the block's rows,
// smoothed along y, wait in shared memory with their halo along x.
extern "C" __global__ void gaussian_yx(
    const f32* in, const f32* taps, i32 radius, i64 height, i64 width, i64 y0, i64 x0, i64 rows, i64 across, u16* out) {
  __shared__ f32 lines[ROWS * (ACROSS + 2 * REACH)];
  const i64 beside = (across + ACROSS - 1) / ACROSS, down = (rows + ROWS - 1) / ROWS, block = blockIdx.x;
  const i64 left = block % beside * ACROSS, top = block / beside % down * ROWS, slice = block / beside / down;
  const i32 tile = (i32)smaller(ACROSS, across - left), wide = tile + 2 * radius;
  for (i32 i = threadIdx.x; i < wide; i += blockDim.x) {
    const f32* column = in + slice * height * width + reflect(x0 + left - radius + i, width);
    f32 acc[ROWS];
    Slide<ROWS, f32>(column, y0 + top, height, width).smooth(taps, radius, acc);
#pragma unroll
    for (int j = 0; j < ROWS; j++) lines[j * wide + i] = acc[j];
  }
  __syncthreads();
  for (i32 i = threadIdx.x; i < ROWS * tile; i += blockDim.x) {
    const i64 y = top + i / tile, x = left + i % tile;
    if (y >= rows) continue;
    const f32* at = lines + i / tile * wide + i % tile + radius;
    f32 acc = taps[0] * at[0];
    for (i32 k = 1; k <= radius; k++) acc = acc + taps[k] * (at[-k] + at[k]);
    out[(slice * rows + y) * across + x] = code(acc);
  }
}

// Along x neighbouring threads share their samples in the cache, so each computes one and the stores stay together.
extern "C" __global__ void gaussian_x(
    const f32* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, i64 start, i64 count, u16* out) {
  const Line at = line(outer, count, inner, 1);
  if (!at.inside) return;
  f32 acc[1];
  Slide<1, f32>(line_of(in, at, length, inner, count), start + at.first, length, inner).smooth(taps, radius, acc);
  out[at.base + at.first * inner] = code(acc[0]);
}

extern "C" __global__ void band_pass(const u16* narrow, const u16* wide, i64 n, i16* out) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    out[i] = (i16)(((i32)narrow[i] - (i32)wide[i] + 2) >> 2);
  }
}
