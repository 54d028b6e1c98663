// Port of cpu_fallback/law/_gaussian.py.
#include "nx47.cuh"

// One pass of the separable kernel along an axis. A thread computes N successive samples and slides over its inputs: N
// samples cost N + 2 r loads instead of N (2 r + 1). The order of operations of each sample is the law's.
template <int N, typename In>
__device__ inline void smooth(const In* in, const f32* taps, i32 radius, i64 length, i64 step, const Line& at, f32* acc) {
  f32 lo[N], hi[N];
  const f32 centre = taps[0];
#pragma unroll
  for (int j = 0; j < N; j++) {
    lo[j] = hi[j] = (f32)in[at.base + reflect(at.first + j, length) * step];
    acc[j] = centre * lo[j];
  }
  for (i32 k = 1; k <= radius; k++) {
#pragma unroll
    for (int j = N - 1; j > 0; j--) lo[j] = lo[j - 1];
#pragma unroll
    for (int j = 0; j < N - 1; j++) hi[j] = hi[j + 1];
    lo[0] = (f32)in[at.base + reflect(at.first - k, length) * step];
    hi[N - 1] = (f32)in[at.base + reflect(at.first + N - 1 + k, length) * step];
    const f32 weight = taps[k];
#pragma unroll
    for (int j = 0; j < N; j++) acc[j] = acc[j] + weight * (lo[j] + hi[j]);
  }
}

template <int N, typename In>
__device__ inline void pass(const In* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, f32* out) {
  const Line at = line(outer, length, inner, N);
  if (!at.inside) return;
  f32 acc[N];
  smooth<N>(in, taps, radius, length, inner, at, acc);
#pragma unroll
  for (int j = 0; j < N; j++) {
    if (at.first + j < at.stop) out[at.base + (at.first + j) * inner] = acc[j];
  }
}

extern "C" __global__ void gaussian_z(
    const u8* grey, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, f32* out) {
  pass<4>(grey, taps, radius, outer, length, inner, out);
}

extern "C" __global__ void gaussian_y(
    const f32* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, f32* out) {
  pass<4>(in, taps, radius, outer, length, inner, out);
}

// The only rounding to a code, half to even.
__device__ inline u16 code(f32 acc) { return (u16)fmaxf(fminf(rintf(acc * 256.0f), 65280.0f), 0.0f); }

constexpr i32 ROWS = 8;
constexpr i32 ACROSS = 192;
constexpr i32 REACH = 32;  // the widest kernel that fits; beyond it the passes along y and x are launched one by one

// The passes along y and x at once: the block's rows, smoothed along y, wait in shared memory with their halo along x.
extern "C" __global__ void gaussian_yx(
    const f32* in, const f32* taps, i32 radius, i64 depth, i64 height, i64 width, u16* out) {
  __shared__ f32 rows[ROWS * (ACROSS + 2 * REACH)];
  const i64 across = (width + ACROSS - 1) / ACROSS, down = (height + ROWS - 1) / ROWS, block = blockIdx.x;
  const i64 x0 = block % across * ACROSS, y0 = block / across % down * ROWS, slice = block / across / down * height;
  const i32 tile = (i32)smaller(ACROSS, width - x0), wide = tile + 2 * radius;
  for (i32 i = threadIdx.x; i < wide; i += blockDim.x) {
    const Line at = {slice * width + reflect(x0 - radius + i, width), y0, height, true};
    f32 acc[ROWS];
    smooth<ROWS>(in, taps, radius, height, width, at, acc);
#pragma unroll
    for (int j = 0; j < ROWS; j++) rows[j * wide + i] = acc[j];
  }
  __syncthreads();
  for (i32 i = threadIdx.x; i < ROWS * tile; i += blockDim.x) {
    const i64 y = y0 + i / tile, x = x0 + i % tile;
    if (y >= height) continue;
    const f32* at = rows + i / tile * wide + i % tile + radius;
    f32 acc = taps[0] * at[0];
    for (i32 k = 1; k <= radius; k++) acc = acc + taps[k] * (at[-k] + at[k]);
    out[(slice + y) * width + x] = code(acc);
  }
}

// Along x neighbouring threads share their samples in the cache, so each computes one and the stores stay together.
extern "C" __global__ void gaussian_x(
    const f32* in, const f32* taps, i32 radius, i64 outer, i64 length, i64 inner, u16* out) {
  const Line at = line(outer, length, inner, 1);
  if (!at.inside) return;
  f32 acc[1];
  smooth<1>(in, taps, radius, length, inner, at, acc);
  out[at.base + at.first * inner] = code(acc[0]);
}

extern "C" __global__ void band_pass(const u16* narrow, const u16* wide, i64 n, i16* out) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    out[i] = (i16)(((i32)narrow[i] - (i32)wide[i] + 2) >> 2);
  }
}
