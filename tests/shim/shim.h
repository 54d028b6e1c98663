// Enough of CUDA for a C++ compiler to build a .cu file and run it on the CPU: test only. shim.cpp runs the threads.
#pragma once
#include <math.h>
#include <stddef.h>

#include <utility>

#define __global__
#define __device__
// A section of their own, so that all shared variables can be poisoned before each block.
#define __shared__ static __attribute__((section("nx47_shared")))
#define __syncthreads() shim::barrier(__LINE__)

struct dim3 {
  unsigned x, y, z;
};
extern dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace shim {
void barrier(int line);
const char* run(void (*call)(void*), void* self, unsigned grid, unsigned threads, int order);
void describe(char access, char sort, int size);
const char* description();

template <typename... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;

  template <size_t... I>
  void with(std::index_sequence<I...>) {
    kernel(*(A*)arguments[I]...);
  }

  static void run(void* self) { ((Call*)self)->with(std::index_sequence_for<A...>()); }
};

template <typename... A>
const char* launch(void (*kernel)(A...), unsigned grid, unsigned threads, void** arguments, int order) {
  Call<A...> call = {kernel, arguments};
  return run(Call<A...>::run, &call, grid, threads, order);
}

// An argument's type as NumPy writes it: u1, f4 ...; * before what a pointer reads, & before what it may write.
template <typename T>
void kind(T*, char access = ' ') {
  describe(access, T(0.5) != 0 ? 'f' : T(-1) < T(0) ? 'i' : 'u', sizeof(T));
}
template <typename T>
void kind(T** , char = ' ') {
  kind((T*)nullptr, '&');
}
template <typename T>
void kind(const T**, char = ' ') {
  kind((T*)nullptr, '*');
}

template <typename... A>
const char* signature(void (*)(A...)) {
  (void)std::initializer_list<int>{(kind((A*)nullptr), 0)...};
  return description();
}
}  // namespace shim

template <typename T>
T shim_exchange(T* at, T value) {
  const T before = *at;
  *at = value;
  return before;
}

// The overloads that CUDA has, no more.
#define SHIM_ATOMIC(name, type, value) \
  inline type name(type* at, type v) { return shim_exchange(at, value); }
SHIM_ATOMIC(atomicAdd, int, (int)((unsigned)*at + (unsigned)v))
SHIM_ATOMIC(atomicAdd, unsigned, *at + v)
SHIM_ATOMIC(atomicAdd, unsigned long long, *at + v)
#define SHIM_ORDER(type)                          \
  SHIM_ATOMIC(atomicMin, type, v < *at ? v : *at) \
  SHIM_ATOMIC(atomicMax, type, v > *at ? v : *at)
SHIM_ORDER(int)
SHIM_ORDER(unsigned)
SHIM_ORDER(long long)
SHIM_ORDER(unsigned long long)

#define SHIM_EXPORT(name)                                                                                   \
  extern "C" const char* shim_launch_##name(unsigned grid, unsigned threads, void** arguments, int order) { \
    return shim::launch(name, grid, threads, arguments, order);                                             \
  }                                                                                                         \
  extern "C" const char* shim_signature_##name() { return shim::signature(name); }
