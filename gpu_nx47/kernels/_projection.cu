// Port of cpu_fallback/law/_projection.py: a thread marches along its column.
#include "nx47.cuh"

constexpr i32 GROUP = 4;

// GROUP successive runs share all but GROUP - 1 slices at each end: those are read once.
extern "C" __global__ void run_maximum(const u8* grey, i32 window, i64 depth, i64 plane, u16* out) {
  const Line at = line(1, depth, plane, GROUP);
  if (!at.inside) return;
  const u8* column = grey + at.base;
  const i64 low = at.first - window / 2, high = at.first + window / 2;
  i32 highest[GROUP] = {0, 0, 0, 0};
  for (i64 z = low; z <= high + GROUP - 1; z++) {
    const i32 value = column[reflect(z, depth) * plane];
#pragma unroll
    for (int j = 0; j < GROUP; j++) {
      if (z >= low + j && z <= high + j && value > highest[j]) highest[j] = value;
    }
  }
#pragma unroll
  for (int j = 0; j < GROUP; j++) {
    if (at.first + j < at.stop) out[at.base + (at.first + j) * plane] = (u16)(highest[j] << 8);
  }
}

// The sums of a run: the slice that enters, less the slice that leaves. w S2 and S1 S1 are below 2^31 (the law's proof).
struct Sums {
  i32 first, second;

  __device__ void enter(i32 value) {
    first += value;
    second += value * value;
  }

  __device__ void leave(i32 value) {
    first -= value;
    second -= value * value;
  }

  __device__ f32 root(i32 window) const { return sqrtf((f32)(window * second - first * first)); }
};

template <typename Code>
__device__ inline void run(const u8* grey, i32 window, i64 depth, i64 plane, i64 march, u16* out, Code code) {
  const Line at = line(1, depth, plane, march);
  if (!at.inside) return;
  const u8* column = grey + at.base;
  const i64 radius = window / 2;
  Sums sums = {0, 0};
  for (i64 z = at.first - radius; z < at.first + radius; z++) sums.enter(column[reflect(z, depth) * plane]);
  for (i64 z = at.first; z < at.stop; z++) {
    sums.enter(column[reflect(z + radius, depth) * plane]);
    out[at.base + z * plane] = code(sums);
    sums.leave(column[reflect(z - radius, depth) * plane]);
  }
}

extern "C" __global__ void run_mean(const u8* grey, i32 window, i64 depth, i64 plane, i64 march, u16* out) {
  run(grey, window, depth, plane, march, out,
      [=](const Sums& s) { return (u16)((512 * s.first + window) / (2 * window)); });
}

extern "C" __global__ void run_deviation(
    const u8* grey, i32 window, f32 scale, i64 depth, i64 plane, i64 march, u16* out) {
  run(grey, window, depth, plane, march, out, [=](const Sums& s) { return (u16)rintf(s.root(window) * scale); });
}

extern "C" __global__ void run_coherence(
    const u8* grey, i32 window, f32 numerator, f32 denominator, i64 depth, i64 plane, i64 march, u16* out) {
  run(grey, window, depth, plane, march, out,
      [=](const Sums& s) { return (u16)rintf(numerator / (denominator + s.root(window))); });
}
