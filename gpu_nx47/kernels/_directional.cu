// Port of cpu_fallback/law/_directional.py: one thread a voxel, neighbours on x side by side.
#include "nx47.cuh"

using i8 = signed char;

// The voxels around one: the ways of its cell's direction, three numbers each, and what lies at their ends.
template <typename T>
struct Around {
  const T* codes;
  const i8* ways;
  i64 z, y, x, depth, height, width;
  bool inside;

  // Voxels that lie at least `reach` from every edge need no look at the border.
  __device__ Around(
      const T* all, const u16* direction, const i8* offsets, i32 places, i32 phase_z, i32 phase_y, i32 phase_x,
      i32 reach, i64 z, i64 y, i64 x, i64 depth, i64 height, i64 width)
      : codes(all), z(z), y(y), x(x), depth(depth), height(height), width(width) {
    const i64 rows = (height + phase_y + 1) >> 1, across = (width + phase_x + 1) >> 1;
    const i64 cell = (((z + phase_z) >> 1) * rows + ((y + phase_y) >> 1)) * across + ((x + phase_x) >> 1);
    ways = offsets + (i64)direction[cell] * places * 3;
    inside = z >= reach && z + reach < depth && y >= reach && y + reach < height && x >= reach && x + reach < width;
  }

  __device__ i32 at(i32 k) const {
    i64 there_z = z + ways[3 * k], there_y = y + ways[3 * k + 1], there_x = x + ways[3 * k + 2];
    if (!inside) {
      there_z = reflect(there_z, depth);
      there_y = reflect(there_y, height);
      there_x = reflect(there_x, width);
    }
    return codes[(there_z * height + there_y) * width + there_x];
  }
};

// The window whose results are asked for begins at z0, y0, x0; c is a place in it.
// Signed codes are written as the bits they are: `low` and `high` tell which range is meant.
template <typename T>
__device__ inline void sums(
    const T* codes, const u16* direction, const i8* offsets, const i32* weights, i32 places, i32 phase_z, i32 phase_y,
    i32 phase_x, i32 reach, i32 shift, i32 low, i32 high, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0,
    i64 slices, i64 rows, i64 across, i64 march, u16* out) {
  const Column c = column(slices, rows, across, march);
  if (!c.inside) return;
  for (i64 z = c.z; z < c.stop; z++) {
    const Around<T> voxel(
        codes, direction, offsets, places, phase_z, phase_y, phase_x, reach, z0 + z, y0 + c.y, x0 + c.x, depth, height,
        width);
    i32 total = 0;
    for (i32 k = 0; k < places; k++) total += weights[k] * voxel.at(k);
    const i32 code = (total + (1 << shift >> 1)) >> shift;
    out[(z * rows + c.y) * across + c.x] = (u16)larger(smaller(code, high), low);
  }
}

extern "C" __global__ void sums_uint8(
    const u8* codes, const u16* direction, const i8* offsets, const i32* weights, i32 places, i32 phase_z, i32 phase_y,
    i32 phase_x, i32 reach, i32 shift, i32 low, i32 high, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0,
    i64 slices, i64 rows, i64 across, i64 march, u16* out) {
  sums(codes, direction, offsets, weights, places, phase_z, phase_y, phase_x, reach, shift, low, high, depth, height,
       width, z0, y0, x0, slices, rows, across, march, out);
}

extern "C" __global__ void sums_uint16(
    const u16* codes, const u16* direction, const i8* offsets, const i32* weights, i32 places, i32 phase_z, i32 phase_y,
    i32 phase_x, i32 reach, i32 shift, i32 low, i32 high, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0,
    i64 slices, i64 rows, i64 across, i64 march, u16* out) {
  sums(codes, direction, offsets, weights, places, phase_z, phase_y, phase_x, reach, shift, low, high, depth, height,
       width, z0, y0, x0, slices, rows, across, march, out);
}

extern "C" __global__ void sums_int16(
    const i16* codes, const u16* direction, const i8* offsets, const i32* weights, i32 places, i32 phase_z, i32 phase_y,
    i32 phase_x, i32 reach, i32 shift, i32 low, i32 high, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0,
    i64 slices, i64 rows, i64 across, i64 march, u16* out) {
  sums(codes, direction, offsets, weights, places, phase_z, phase_y, phase_x, reach, shift, low, high, depth, height,
       width, z0, y0, x0, slices, rows, across, march, out);
}

// out: volumes of the window's shape one after the other.
extern "C" __global__ void profiles(
    const u16* codes, const u16* direction, const i8* offsets, i32 places, i32 phase_z, i32 phase_y, i32 phase_x,
    i32 reach, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0, i64 slices, i64 rows, i64 across, i64 march,
    u16* out) {
  const Column c = column(slices, rows, across, march);
  if (!c.inside) return;
  for (i64 z = c.z; z < c.stop; z++) {
    const Around<u16> voxel(
        codes, direction, offsets, places, phase_z, phase_y, phase_x, reach, z0 + z, y0 + c.y, x0 + c.x, depth, height,
        width);
    for (i32 k = 0; k < places; k++) out[((k * slices + z) * rows + c.y) * across + c.x] = (u16)voxel.at(k);
  }
}

extern "C" __global__ void peaks(
    const i16* codes, const u16* direction, const i8* offsets, i32 places, i32 phase_z, i32 phase_y, i32 phase_x,
    i32 reach, i64 depth, i64 height, i64 width, i64 z0, i64 y0, i64 x0, i64 slices, i64 rows, i64 across, i64 march,
    u16* out) {
  const Column c = column(slices, rows, across, march);
  if (!c.inside) return;
  for (i64 z = c.z; z < c.stop; z++) {
    const Around<i16> voxel(
        codes, direction, offsets, places, phase_z, phase_y, phase_x, reach, z0 + z, y0 + c.y, x0 + c.x, depth, height,
        width);
    i32 peak = 0, before = voxel.at(0), here = voxel.at(1);
    for (i32 k = 2; k < places; k++) {
      const i32 after = voxel.at(k);
      if (here >= before && here >= after && here > peak) peak = here;
      before = here;
      here = after;
    }
    out[(z * rows + c.y) * across + c.x] = (u16)peak;
  }
}

// The highest of the codes above `most`; no thread touches `found`, which is 0, where there is none.
extern "C" __global__ void beyond(const u16* direction, i64 n, u32 most, u32* found) {
  u32 high = 0;
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (direction[i] > high) high = direction[i];
  }
  if (high > most) atomicMax(found, high);
}
