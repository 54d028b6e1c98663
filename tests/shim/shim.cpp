// Runs the threads of a launch on the CPU: test only.
//
// A block's threads run one after the other in a given order; one that meets a barrier waits on a stack of its own (a
// fibre) until all have met it. So threads without a barrier cost a call each, and what a missing barrier leaves open
// comes out differently in another order. Shared memory is poisoned before each block. Threads of a block that meet
// different barriers, or of which only some meet one, are an error.
#include "shim.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SHIM_LEAVE(from, stack, size) __sanitizer_start_switch_fiber(from, stack, size)
#define SHIM_ENTER(to, stack, size) __sanitizer_finish_switch_fiber(to, stack, size)
#else
#define SHIM_LEAVE(from, stack, size) (void)(from)
#define SHIM_ENTER(to, stack, size) (void)(to)
#endif

dim3 gridDim, blockDim, blockIdx, threadIdx;

extern "C" __attribute__((weak)) char __start_nx47_shared[], __stop_nx47_shared[];

namespace shim {

constexpr size_t STACK = 1 << 17;

// A stack to run on. swapcontext also swaps signal masks, two system calls a switch: it is for the sanitizer, which follows
// it; elsewhere it starts a fibre and jumps do the rest.
struct Place {
  ucontext_t context;
  jmp_buf jump;
  bool begun = false;
};

static void change(Place& from, Place& to) {
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&from.context, &to.context);
#else
  if (_setjmp(from.jump)) return;
  from.begun = true;
  if (to.begun) _longjmp(to.jump, 1);
  setcontext(&to.context);
#endif
}

struct Fibre {
  Place place;
  char* stack;
  void* fake = nullptr;  // the address sanitizer's frames of this fibre
  unsigned thread = 0;
  int site = 0;  // line of the barrier it waits at
};

struct Block {
  Place scheduler;
  void* fake = nullptr;
  const void* host_stack = nullptr;
  size_t host_size = 0;
  std::vector<Fibre*> idle, waiting;
  Fibre* running = nullptr;
  std::vector<unsigned> turn;
  size_t next = 0;
  unsigned long long random = 47;
  void (*call)(void*) = nullptr;
  void* self = nullptr;
};
static Block block;
static std::string text, error;

static void to_scheduler() {
  Fibre* me = block.running;
  SHIM_LEAVE(&me->fake, block.host_stack, block.host_size);
  change(me->place, block.scheduler);
  SHIM_ENTER(me->fake, &block.host_stack, &block.host_size);
}

void barrier(int line) {
  Fibre* me = block.running;
  me->site = line;
  me->thread = threadIdx.x;
  block.waiting.push_back(me);
  to_scheduler();
  threadIdx.x = me->thread;
}

// What a fibre does for ever: threads in their order. One that meets a barrier holds its fibre until it ends.
static void threads() {
  SHIM_ENTER(nullptr, &block.host_stack, &block.host_size);
  while (true) {
    while (block.next < block.turn.size()) {
      threadIdx.x = block.turn[block.next++];
      block.call(block.self);
    }
    block.idle.push_back(block.running);
    to_scheduler();
  }
}

static Fibre* fibre() {
  if (!block.idle.empty()) {
    Fibre* old = block.idle.back();
    block.idle.pop_back();
    return old;
  }
  Fibre* made = new Fibre;
  made->stack = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (made->stack == MAP_FAILED) return nullptr;
  getcontext(&made->place.context);
  made->place.context.uc_stack.ss_sp = made->stack;
  made->place.context.uc_stack.ss_size = STACK;
  made->place.context.uc_link = nullptr;
  makecontext(&made->place.context, threads, 0);
  return made;
}

static void resume(Fibre* one) {
  block.running = one;
  SHIM_LEAVE(&block.fake, one->stack, STACK);
  change(block.scheduler, one->place);
  SHIM_ENTER(block.fake, nullptr, nullptr);
}

// Put items into the order asked for: 0 as they are, 1 the last first, 2 shuffled, anew each time.
template <typename T>
static void arrange(std::vector<T>& items, int order) {
  const size_t n = items.size();
  for (size_t i = 0; order == 1 && i < n / 2; i++) std::swap(items[i], items[n - 1 - i]);
  for (size_t i = n; order == 2 && i > 1; i--) {
    block.random = block.random * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(items[i - 1], items[(block.random >> 33) % i]);
  }
}

static void count_up(std::vector<unsigned>& items, unsigned number, int order) {
  items.resize(number);
  for (unsigned i = 0; i < number; i++) items[i] = i;
  arrange(items, order);
}

// The sanitizer keeps red zones between the variables; this loop may write them.
__attribute__((no_sanitize("address"))) static void poison() {
  for (volatile char* at = __start_nx47_shared; at < __stop_nx47_shared; at++) *at = (char)0xa5;
}

static const char* run_block(unsigned number, int order) {
  if (__start_nx47_shared) poison();
  count_up(block.turn, number, order);
  block.next = 0;
  while (block.next < number) {
    Fibre* one = fibre();
    if (!one) return "the shim has no memory for another fibre";
    resume(one);
  }
  while (!block.waiting.empty()) {
    std::vector<Fibre*> phase;
    phase.swap(block.waiting);
    const std::string first = std::to_string(phase[0]->site);
    for (Fibre* one : phase) {
      if (one->site == phase[0]->site) continue;
      error = "threads of a block wait at different barriers, lines " + first + " and " + std::to_string(one->site);
      return error.c_str();
    }
    if (phase.size() != number) {
      error = "only " + std::to_string(phase.size()) + " of " + std::to_string(number) +
             " threads of a block meet the barrier in line " + first;
      return error.c_str();
    }
    arrange(phase, order);
    for (Fibre* one : phase) resume(one);
  }
  return nullptr;
}

const char* run(void (*call)(void*), void* self, unsigned grid, unsigned number, int order) {
  block.call = call;
  block.self = self;
  gridDim = {grid, 1, 1};
  blockDim = {number, 1, 1};
  threadIdx = {0, 0, 0};
  std::vector<unsigned> blocks;
  count_up(blocks, grid, order);
  for (unsigned i : blocks) {
    blockIdx = {i, 0, 0};
    // The fibres of a failed block stay where they are and are never resumed.
    if (const char* failed = run_block(number, order)) {
      block.waiting.clear();
      return failed;
    }
  }
  return nullptr;
}

void describe(char access, char sort, int size) {
  if (access != ' ') text += access;
  text += sort + std::to_string(size) + " ";
}

const char* description() {
  static std::string last;
  last.swap(text);
  text.clear();
  return last.c_str();
}

}  // namespace shim
