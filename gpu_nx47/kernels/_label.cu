// Port of cpu_fallback/law/_label.py: union-find in global memory. A parent is never greater than its child, so the root
// of a component is its first voxel whatever the order of the hooks, and the numbering is the law's.
#include "nx47.cuh"

constexpr i32 NONE = -1;
constexpr i32 LINK = 32;     // voxels of a row linked without looking further
constexpr i32 STRETCH = 16;  // successive voxels of a thread that numbers roots

__device__ inline i32 find(const i32* parent, i32 at) {
  // Others shorten or hook the path meanwhile: each number read is on it, whichever it is, hence volatile.
  i32 up = ((const volatile i32*)parent)[at];
  while (up != at) {
    at = up;
    up = ((const volatile i32*)parent)[at];
  }
  return at;
}

__device__ inline void unite(i32* parent, i32 a, i32 b) {
  while (true) {
    a = find(parent, a);
    b = find(parent, b);
    if (a == b) return;
    const i32 low = a < b ? a : b, high = a < b ? b : a;
    // Where another thread hooked `high` first, its parent of then and `low` belong together: go on with those.
    const i32 before = atomicMin(parent + high, low);
    if (before == high) return;
    a = before;
    b = low;
  }
}

extern "C" __global__ void at_least(const u16* codes, u16 limit, i64 n, u8* mask) {
  for (i64 i = thread_index(); i < n; i += thread_count()) mask[i] = codes[i] >= limit;
}

// Hook each true voxel to the first one of its run, as far as that lies in the same LINK voxels of the row.
extern "C" __global__ void plant(const u8* mask, i64 n, i64 width, i32* parent) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (!mask[i]) {
      parent[i] = NONE;
      continue;
    }
    const i64 low = i - i % width % LINK;
    i64 first = i;
    while (first > low && mask[first - 1]) first--;
    parent[i] = (i32)first;
  }
}

// Join voxel `i` to the runs it touches in a neighbouring row, whose voxel of the same x is `j`. What the voxel on the
// left, or the next one on the right, joins already is left to it.
__device__ inline void touch(
    const u8* mask, i32* parent, i64 i, i64 j, bool has_left, bool has_right, bool corners) {
  const bool left = has_left && mask[i - 1];
  if (mask[j]) {
    if (!(left && mask[j - 1])) unite(parent, (i32)i, (i32)j);
  } else if (corners) {
    const bool right = has_right && mask[i + 1];
    if (has_left && !left && mask[j - 1]) unite(parent, (i32)i, (i32)(j - 1));
    if (has_right && !right && mask[j + 1]) unite(parent, (i32)i, (i32)(j + 1));
  }
}

extern "C" __global__ void hook(const u8* mask, i64 depth, i64 height, i64 width, u8 corners, i32* parent) {
  const i64 n = depth * height * width, plane = height * width;
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (!mask[i]) continue;
    const i64 x = i % width, y = i / width % height, z = i / plane;
    const bool has_left = x > 0, has_right = x + 1 < width;
    if (has_left && x % LINK == 0 && mask[i - 1]) unite(parent, (i32)i, (i32)(i - 1));
    if (y > 0) touch(mask, parent, i, i - width, has_left, has_right, corners);
    if (z == 0) continue;
    touch(mask, parent, i, i - plane, has_left, has_right, corners);
    if (corners && y > 0) touch(mask, parent, i, i - plane - width, has_left, has_right, corners);
    if (corners && y + 1 < height) touch(mask, parent, i, i - plane + width, has_left, has_right, corners);
  }
}

extern "C" __global__ void flatten(i64 n, i32* parent) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (parent[i] != NONE) parent[i] = find(parent, (i32)i);
  }
}

// Roots are numbered in raster order: those of each block are counted, the counts summed, the roots numbered from there.
__device__ inline u32 roots_of_thread(const i32* parent, i64 first, i64 n) {
  u32 number = 0;
  for (i64 i = first; i < smaller(first + STRETCH, n); i++) number += parent[i] == i;
  return number;
}

extern "C" __global__ void count_roots(const i32* parent, i64 n, u32* counts) {
  __shared__ u32 room[256];
  const u32 mine = roots_of_thread(parent, thread_index() * STRETCH, n);
  const u32 before = exclusive_sum(mine, room);
  if (threadIdx.x == blockDim.x - 1) counts[blockIdx.x] = before + mine;
}

// One block: each count becomes the sum of those before it; counts[n] the total.
extern "C" __global__ void sum_counts(i64 n, u32* counts) {
  __shared__ u32 room[256];
  const i64 each = (n + blockDim.x - 1) / blockDim.x;
  const i64 first = threadIdx.x * each, stop = smaller(first + each, n);
  u32 mine = 0;
  for (i64 i = first; i < stop; i++) mine += counts[i];
  u32 before = exclusive_sum(mine, room);
  for (i64 i = first; i < stop; i++) {
    const u32 count = counts[i];
    counts[i] = before;
    before += count;
  }
  if (threadIdx.x == blockDim.x - 1) counts[n] = before;
}

extern "C" __global__ void number_roots(const i32* parent, const u32* counts, i64 n, i32* labels) {
  __shared__ u32 room[256];
  const i64 first = thread_index() * STRETCH;
  u32 label = counts[blockIdx.x] + exclusive_sum(roots_of_thread(parent, first, n), room);
  for (i64 i = first; i < smaller(first + STRETCH, n); i++) {
    if (parent[i] == i) labels[i] = (i32)++label;
  }
}

extern "C" __global__ void paint(const i32* parent, i64 n, i32* labels) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (parent[i] == NONE) labels[i] = 0;
    else if (parent[i] != i) labels[i] = labels[parent[i]];
  }
}

// sizes[root] = voxels of its component. A run of one root in a thread's stretch is added at once.
extern "C" __global__ void sizes(const i32* parent, i64 n, u32* size) {
  const i64 first = thread_index() * STRETCH, stop = smaller(first + STRETCH, n);
  for (i64 i = first; i < stop;) {
    const i32 root = parent[i];
    i64 end = i + 1;
    while (end < stop && parent[end] == root) end++;
    if (root != NONE) atomicAdd(size + root, (u32)(end - i));
    i = end;
  }
}

// marks[root] = 1 where the component holds a code of at least `limit`; a mark is a size, so `keep` serves both. Most strong
// voxels find their component marked and spare the atomic.
extern "C" __global__ void mark(const i32* parent, const u16* codes, u16 limit, i64 n, u32* marks) {
  for (i64 i = thread_index(); i < n; i += thread_count()) {
    if (parent[i] != NONE && codes[i] >= limit && marks[parent[i]] == 0) atomicMax(marks + parent[i], 1u);
  }
}

extern "C" __global__ void keep(const i32* parent, const u32* size, u32 least, i64 n, u8* out) {
  for (i64 i = thread_index(); i < n; i += thread_count()) out[i] = parent[i] != NONE && size[parent[i]] >= least;
}

constexpr i32 MOMENTS = 11;

__device__ inline u32 others(const i32* labels, i64 from, i64 to, bool here, i64 step, i32 value) {
  if (!here) return (u32)(to - from);
  u32 number = 0;
  for (i64 i = from; i < to; i++) number += labels[i + step] != value;
  return number;
}

// A thread takes LINK voxels of a row; the sums of each run of one label are added at once. All sums are integers.
extern "C" __global__ void moments(const i32* labels, i64 depth, i64 height, i64 width, u64* sums) {
  const i64 pieces = (width + LINK - 1) / LINK, plane = height * width;
  const i64 row = thread_index() / pieces, z = row / height, y = row % height;
  if (z >= depth) return;
  const i64 low = thread_index() % pieces * LINK, high = smaller(low + LINK, width);
  for (i64 x = low; x < high;) {
    const i64 start = x;
    const i32 value = labels[row * width + start];
    u64 n = 0, xs = 0, squares = 0;
    for (; x < high && labels[row * width + x] == value; x++) {
      n += 1;
      xs += x;
      squares += x * x;
    }
    if (value == 0) continue;
    const i64 from = row * width + start, to = row * width + x;
    u64 faces = others(labels, from, to, y > 0, -width, value) + others(labels, from, to, y + 1 < height, width, value);
    faces += others(labels, from, to, z > 0, -plane, value) + others(labels, from, to, z + 1 < depth, plane, value);
    faces += start == 0 || labels[from - 1] != value;
    faces += x == width || labels[to] != value;
    const u64 sum[MOMENTS] = {n, n * z, n * y, xs, n * z * z, n * y * y, squares, n * z * y, z * xs, y * xs, faces};
    for (int column = 0; column < MOMENTS; column++) atomicAdd(sums + (value - 1) * (i64)MOMENTS + column, sum[column]);
  }
}
