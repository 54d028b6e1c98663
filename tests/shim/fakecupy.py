"""An array layer in CuPy's place, for tests: host memory as device memory, the shim as the device.

It has the part of CuPy that gpu_nx47/kernels and the stages use, and is stricter: arguments must have exactly the
types of the kernel's parameters, device arrays never turn into NumPy's by themselves, fresh memory is poisoned, and
what a kernel writes outside an array is found after each launch.
"""

import ctypes
import sys
import threading
import types

import build
import numpy as np

from gpu_nx47.kernels import _clock, _launch, _loader

GUARD = 64
POISON = 0xA5
ORDERS = ("forward", "reverse", "shuffled")


# Errors of cupy.cuda.memory, .nvrtc and .runtime.
OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})
NVRTCError = type("NVRTCError", (RuntimeError,), {})
CUDARuntimeError = type("CUDARuntimeError", (RuntimeError,), {})


class State:
    """What a test sets and reads."""

    def __init__(self, folder, sanitized=False):
        self.folder = folder
        self.sanitized = sanitized
        self.order = "forward"
        self.mutations = []  # (file, old, new): how to break a kernel before it is built
        self.options = []  # what NVRTC was asked for
        self.launches = []  # names of the kernels run
        self.allocations = 0
        self.fail_at = set()  # numbers of the allocations that find no memory
        self.capacity = 2**40  # bytes of a device
        self.devices = 1
        self.pinned, self.pinned_capacity = [], 2**40  # page-locked bytes: each block asked for, the largest granted
        self.live = [0] * 8  # bytes allocated on each device
        self.peak = 0
        self.freed = 0  # how often the pools were told to give back
        self.used = set()  # devices that launched something
        self.lock = threading.RLock()
        self.thread = threading.local()

    @property
    def device(self):
        """The current device of this thread."""
        return getattr(self.thread, "device", 0)

    @property
    def stream(self):
        """The current stream of this thread; None is the device's own."""
        return getattr(self.thread, "stream", None)

    def source(self, name, text):
        """Return a kernel file's text with the mutations of it."""
        for file, old, new in self.mutations:
            if f"{file}.cu" == name:
                if text.count(old) != 1:
                    raise ValueError(f"{old!r} occurs {text.count(old)} times in {file}.cu")
                text = text.replace(old, new)
        return text


class Allocation:
    """Memory of one array between two guards (under the sanitizer: exactly the array's)."""

    def __init__(self, state, nbytes):
        with state.lock:
            state.allocations += 1
            live = state.live[state.device] + nbytes
            if state.allocations in state.fail_at or live > state.capacity:
                raise OutOfMemoryError(f"Out of memory allocating {nbytes} bytes")
            self.state, self.device, self.stream = state, state.device, state.stream
            state.live[self.device] = live
            state.peak = max(state.peak, live)
        self.guard = 0 if state.sanitized else GUARD
        self.raw = np.full(nbytes + 2 * self.guard, POISON, np.uint8)
        self.nbytes = nbytes

    def __del__(self):
        if hasattr(self, "nbytes"):
            with self.state.lock:
                self.state.live[self.device] -= self.nbytes

    def bytes(self):
        return self.raw[self.guard : self.guard + self.nbytes]

    def check(self, kernel):
        if self.guard:
            before, after = self.raw[: self.guard], self.raw[self.guard + self.nbytes :]
            assert (before == POISON).all(), f"{kernel} wrote before an array"
            assert (after == POISON).all(), f"{kernel} wrote past an array"


def _operator(name):
    return lambda self, other: self._new(getattr(self._view, f"__{name}__")(_plain(other)))


class ndarray:
    """cupy.ndarray, as far as it is used."""

    def __init__(self, allocation, view):
        self._allocation, self._view = allocation, view

    shape = property(lambda self: self._view.shape)
    dtype = property(lambda self: self._view.dtype)
    strides = property(lambda self: self._view.strides)
    flags = property(lambda self: self._view.flags)
    size = property(lambda self: self._view.size)
    ndim = property(lambda self: self._view.ndim)
    nbytes = property(lambda self: self._view.nbytes)
    data = property(lambda self: types.SimpleNamespace(ptr=self._view.ctypes.data))

    def __len__(self):
        return len(self._view)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function, _types, arguments, parameters):
        assert function in (np.einsum,), f"CuPy may have {function.__name__}, the stand-in has not"
        return self._new(function(*map(_plain, arguments), **parameters))

    def _same(self, view):
        return ndarray(self._allocation, view)

    def __getitem__(self, key):
        return self._same(self._view[key])

    def reshape(self, *shape):
        return self._same(self._view.reshape(*shape))

    def view(self, dtype):
        return self._same(self._view.view(dtype))

    def astype(self, dtype):
        return self._new(self._view.astype(dtype))

    def copy(self):
        return self._new(self._view)

    def _new(self, values):
        return _CURRENT.module.asarray(np.ascontiguousarray(values))

    __add__, __ge__, __gt__, __mul__, __or__ = map(_operator, ("add", "ge", "gt", "mul", "or"))
    __hash__ = None


_CURRENT = types.SimpleNamespace(module=None)


def _plain(value):
    assert not isinstance(value, np.ndarray), "CuPy mixes no NumPy array into an expression"
    return value._view if isinstance(value, ndarray) else value


class Module:
    """cupy.cuda.function.Module: here the "cubin" is the path of a shared library."""

    def __init__(self, state):
        self._state, self._library = state, None

    def load(self, cubin):
        assert isinstance(cubin, bytes)
        self._library = ctypes.CDLL(cubin.decode())

    def get_function(self, name):
        launch, signature = (getattr(self._library, f"shim_{what}_{name}") for what in ("launch", "signature"))
        launch.restype = signature.restype = ctypes.c_char_p
        launch.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
        with self._state.lock:  # the library writes it into one buffer
            kinds = signature().decode().split()

        def run(grid, block, arguments):
            (blocks,), (threads,) = grid, block
            assert 1 <= blocks < 2**31, name
            assert 1 <= threads <= 1024, name
            assert len(arguments) == len(kinds), f"{name}: {len(arguments)} arguments for {kinds}"
            cells = [_cell(name, kind, a) for kind, a in zip(kinds, arguments, strict=True)]
            pointers = (ctypes.c_void_p * len(cells))(*[c.ctypes.data for c in cells])
            for argument in arguments:
                if isinstance(argument, ndarray):
                    assert argument._allocation.device == self._state.device, f"{name}: an array of another device"
                    # Nothing would order the kernel behind what another stream still does to it.
                    assert argument._allocation.stream is self._state.stream, f"{name}: an array of another stream"
            with self._state.lock:
                self._state.used.add(self._state.device)
                error = launch(blocks, threads, pointers, ORDERS.index(self._state.order))
                self._state.launches.append(name)
            if error:
                raise RuntimeError(f"{name}: {error.decode()}")
            for argument in arguments:
                if isinstance(argument, ndarray):
                    argument._allocation.check(name)

        return run


def _cell(name, kind, argument):
    """Return the argument's bytes, after a check that they are what the parameter wants."""
    if kind[0] in "*&":
        assert isinstance(argument, ndarray), f"{name}: {kind} wants a device array, got {type(argument).__name__}"
        # A mask is read as bytes.
        came = "u1" if argument.dtype == np.bool_ else argument.dtype.str[1:]
        assert came == kind[1:], f"{name}: {kind} wants another array than {argument.dtype}"
        assert argument.flags.c_contiguous, f"{name}: {kind} wants a contiguous array"
        return np.array([argument.data.ptr], np.uint64)
    assert isinstance(argument, np.generic), f"{name}: {kind} wants a NumPy scalar, got {type(argument).__name__}"
    assert argument.dtype.str[1:] == kind, f"{name}: {kind} wants another number than {argument.dtype}"
    return np.array([argument])


class NVRTC:
    """cupy.cuda.nvrtc (an attribute there, no module): checks the options and lets g++ compile."""

    NVRTCError = NVRTCError

    def __init__(self, state):
        self._state, self._programs = state, {}

    def createProgram(self, source, name, headers, include_names):
        assert len(headers) == len(include_names) == 0
        self._programs[len(self._programs) + 1] = [self._state.source(name, source), None, ""]
        return len(self._programs)

    def compileProgram(self, program, options):
        self._state.options.append(tuple(options))
        entry = self._programs[program]
        try:
            entry[1] = build.build(entry[0], self._state.folder, self._state.sanitized)
        except RuntimeError as error:
            entry[2] = str(error)
            raise NVRTCError("NVRTC_ERROR_COMPILATION (6)") from error

    def getCUBIN(self, program):
        return str(self._programs[program][1]).encode()

    def getProgramLog(self, program):
        return self._programs[program][2]

    def destroyProgram(self, program):
        pass


class Pool:
    """cupy.get_default_memory_pool()."""

    def __init__(self, state):
        self._state = state

    def free_all_blocks(self):
        self._state.freed += 1

    def free_bytes(self):
        return 0


class Stream:
    """cupy.cuda.Stream."""

    def __init__(self, state):
        self._state, self.device = state, state.device

    def use(self):
        assert self.device == self._state.device, "a stream of another device"
        self._state.thread.stream = self


class Event:
    """cupy.cuda.Event; a kernel takes a millisecond here."""

    def __init__(self, state):
        self._state, self.at = state, None

    def record(self):
        self.at = len(self._state.launches)

    @property
    def done(self):
        return self.at is not None

    def synchronize(self):
        assert self.done


class Device:
    """cupy.cuda.Device."""

    compute_capability = "47"  # no such one: a cubin that `make wheel` left in the checkout is never taken for it

    def __init__(self, state, number=None):
        self._state, self.id = state, state.device if number is None else number

    def use(self):
        assert 0 <= self.id < self._state.devices
        self._state.thread.device = self.id

    def __enter__(self):
        self._before = self._state.device
        self.use()

    def __exit__(self, *_):
        self._state.thread.device = self._before


def make(state):
    """Return a module that stands in for cupy, and its submodules by name."""

    def allocate(shape, dtype):
        shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
        dtype = np.dtype(dtype)
        allocation = Allocation(state, int(np.prod(shape)) * dtype.itemsize)
        return ndarray(allocation, allocation.bytes().view(dtype).reshape(shape))

    def zeros(shape, dtype):
        array = allocate(shape, dtype)
        array._view[...] = 0
        return array

    def asarray(values):
        if isinstance(values, ndarray):
            return values
        values = np.ascontiguousarray(values)
        array = allocate(values.shape, values.dtype)
        array._view[...] = values
        return array

    def asnumpy(array, out=None):
        assert array._allocation.stream is state.stream, "a copy on a stream that nothing orders behind the array's"
        out = np.empty(array.shape, array.dtype) if out is None else out
        assert (out.shape, out.dtype, out.flags.c_contiguous) == (array.shape, array.dtype, True), "another array"
        out[...] = _plain(array)
        return out

    def alloc_pinned_memory(size):
        state.pinned.append(size)
        if size > state.pinned_capacity:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        return bytearray([POISON]) * size

    cupy = types.ModuleType("cupy")
    pool = Pool(state)
    vars(cupy).update(
        ndarray=ndarray, empty=allocate, zeros=zeros, asarray=asarray, asnumpy=asnumpy,
        get_default_memory_pool=lambda: pool, get_default_pinned_memory_pool=lambda: pool, __version__="0 (shim)",
    )  # fmt: skip
    cupy.cuda = types.ModuleType("cupy.cuda")
    cupy.cuda.Device = lambda number=None: Device(state, number)
    cupy.cuda.nvrtc, cupy.cuda.alloc_pinned_memory = NVRTC(state), alloc_pinned_memory
    cupy.cuda.Stream = lambda *, non_blocking: Stream(state)
    cupy.cuda.Event = lambda: Event(state)
    cupy.cuda.get_elapsed_time = lambda start, end: float(end.at - start.at) or 0.001
    cupy.cuda.function = types.SimpleNamespace(Module=lambda: Module(state))
    cupy.cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cupy.cuda.runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: state.devices,
        getDeviceProperties=lambda number: {"name": b"shim"},
        driverGetVersion=lambda: 0,
        memGetInfo=lambda: (state.capacity - state.live[state.device], state.capacity),
    )
    _CURRENT.module = cupy
    return {"cupy": cupy, "cupy.cuda": cupy.cuda}


def install(state):
    """Put the stand-in where `import cupy` finds it; the loader forgets what it loaded. Return what undoes it."""
    modules = make(state)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    forget()

    def undo():
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        forget()

    return undo


def forget():
    """Let the loader import CuPy and compile kernels anew."""
    _loader.cupy.cache_clear()
    _loader._modules.clear()
    _launch.forget_tables()
    _clock._CLOCK.pairs.clear()
