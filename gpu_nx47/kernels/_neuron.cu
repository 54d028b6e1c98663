// Port of cpu_fallback/law/_neuron.py.
#include "nx47.cuh"

__device__ inline i32 logit_index(f32 acc) {
  return (i32)fminf(fmaxf(rintf(acc * 2048.0f), -32767.0f), 32767.0f) + 32768;
}

// features: K addresses of code volumes; parameters: K means, K scales, K weights.
extern "C" __global__ void neuron(
    const u64* features, const u8* is_signed, const f32* parameters, i32 number, f32 bias, const u16* sigmoid, i64 n,
    u16* out) {
  const f32 *mean = parameters, *scale = parameters + number, *weights = parameters + 2 * number;
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    f32 acc = bias;
    for (i32 k = 0; k < number; k++) {
      const f32 code = is_signed[k] ? (f32)((const i16*)features[k])[i] : (f32)((const u16*)features[k])[i];
      const f32 t = fminf(fmaxf((code - mean[k]) * scale[k], -8.0f), 8.0f);
      acc = acc + weights[k] * t;
    }
    out[i] = sigmoid[logit_index(acc)];
  }
}

constexpr i32 SAMPLES = 1024;

// A block takes SAMPLES samples: first their residuals and losses, then, a warp a sum, what is added up of them. sums: K
// products, residuals, losses; negative numbers as their two's complement, so that unsigned sums are the signed ones.
extern "C" __global__ void neuron_sums(
    const i16* x, const u8* y, const f32* weights, i32 number, f32 bias, const u16* sigmoid, const i32* softplus, i64 n,
    u64* sums) {
  __shared__ i32 residual[SAMPLES];
  __shared__ i64 loss[SAMPLES];
  const i64 start = (i64)blockIdx.x * SAMPLES;
  const i32 samples = (i32)smaller(SAMPLES, n - start);
  for (i32 i = threadIdx.x; i < samples; i += blockDim.x) {
    f32 acc = bias;
    for (i32 k = 0; k < number; k++) {
      acc = acc + (weights[k] * (1.0f / 4096.0f)) * (f32)x[k * n + start + i];
    }
    const i32 at = logit_index(acc);
    const i64 target = y[start + i];
    residual[i] = (i32)((sigmoid[at] >> 1) - 32767 * target);
    loss[i] = softplus[at] - (i64)(at - 32768) * 32 * target;
  }
  __syncthreads();
  const i32 lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (i32 k = threadIdx.x / 32; k < number + 2; k += warps) {
    i64 sum = 0;
    for (i32 i = lane; i < samples; i += 32) {
      sum += k < number ? (i64)residual[i] * x[k * n + start + i] : k == number ? (i64)residual[i] : loss[i];
    }
    atomicAdd(sums + k, (u64)sum);
  }
}
