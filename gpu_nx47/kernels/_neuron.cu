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

constexpr i32 ROOM = 8192;  // outputs of two layers that a block keeps: 32 kB
constexpr i32 AT_ONCE = 4;   // neurons whose sums a thread adds up together, so that an input is read once for them

// A block takes `voxels` voxels, a divisor of its threads, through all layers. widest: the most numbers a layer takes in;
// weights, biases: of the hidden layers, then of the last neuron. Both rooms hold number k of all voxels, then k + 1.
extern "C" __global__ void net(
    const u64* features, const u8* is_signed, const f32* standard, const i32* sizes, i32 layers, i32 widest, i32 voxels,
    const f32* weights, const f32* biases, const u16* sigmoid, i64 n, u16* out) {
  __shared__ f32 room[ROOM];
  f32 *inputs = room, *outputs = room + widest * voxels;
  const i32 v = threadIdx.x % voxels, first = threadIdx.x / voxels, step = blockDim.x / voxels;
  const i64 i = (i64)blockIdx.x * voxels + v;
  const i64 at = smaller(i, n - 1);
  for (i32 k = first; k < sizes[0]; k += step) {
    const f32 code = is_signed[k] ? (f32)((const i16*)features[k])[at] : (f32)((const u16*)features[k])[at];
    inputs[k * voxels + v] = fminf(fmaxf((code - standard[k]) * standard[sizes[0] + k], -8.0f), 8.0f);
  }
  __syncthreads();
  i32 before = sizes[0];
  for (i32 layer = 1; layer < layers; layer++) {
    const i32 size = sizes[layer];
    for (i32 neuron = first * AT_ONCE; neuron < size; neuron += step * AT_ONCE) {
      f32 sum[AT_ONCE];
      i32 row[AT_ONCE];  // beyond the last neuron: its own again, which nothing reads
      for (i32 j = 0; j < AT_ONCE; j++) {
        row[j] = (i32)smaller(neuron + j, size - 1);
        sum[j] = biases[row[j]];
      }
      for (i32 k = 0; k < before; k++) {
        const f32 t = inputs[k * voxels + v];
        for (i32 j = 0; j < AT_ONCE; j++) sum[j] = sum[j] + weights[row[j] * before + k] * t;
      }
      for (i32 j = 0; j < AT_ONCE && neuron + j < size; j++) {
        const f32 z = fminf(fmaxf(rintf(sum[j] * 2048.0f), 0.0f), 16384.0f);
        outputs[(neuron + j) * voxels + v] = z * (1.0f / 2048.0f);  // the ramp, as the next layer standardises it
      }
    }
    __syncthreads();
    f32* const swap = inputs;
    inputs = outputs;
    outputs = swap;
    weights += size * before;
    biases += size;
    before = size;
  }
  if (first > 0 || i >= n) return;
  f32 sum = biases[0];
  for (i32 k = 0; k < before; k++) sum = sum + weights[k] * inputs[k * voxels + v];
  out[i] = sigmoid[logit_index(sum)];
}

constexpr i32 SAMPLES = 1024;

// A block takes SAMPLES samples: first their residuals and losses, then, a warp a sum, what is added up of them. sums: K
// products, residuals, and losses where K + 2 sums are asked for and not K + 1; negative numbers as their two's
// complement, so that unsigned sums are the signed ones.
extern "C" __global__ void neuron_sums(
    const i16* x, const u8* y, const f32* weights, i32 number, i32 asked, f32 bias, const u16* sigmoid,
    const i32* softplus, i64 n, u64* sums) {
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
    if (asked > number + 1) loss[i] = softplus[at] - (i64)(at - 32768) * 32 * target;
  }
  __syncthreads();
  const i32 lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (i32 k = threadIdx.x / 32; k < asked; k += warps) {
    i64 sum = 0;
    for (i32 i = lane; i < samples; i += 32) {
      sum += k < number ? (i64)residual[i] * x[k * n + start + i] : k == number ? (i64)residual[i] : loss[i];
    }
    atomicAdd(sums + k, (u64)sum);
  }
}
