"""A GPU of the driver fake (tests/fake_cuda) for tensors of torch: they lie in memory that faults when the host touches it,
and change in the order of one stream. For a process of its own that finds the fake as libcuda.so.1.

torch takes the tensors for the host's; what the package asks its door (_accelerator.py) is answered here instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch

from stillframe import _accelerator

_VERSION = 12000
_LEGACY_DEFAULT_STREAM = 1
_NON_BLOCKING = 1
_CAPTURE_RELAXED = 2


class FakeGpu:
    """One of FAKE_CUDA_DEVICES. Its context is current on the thread that makes it, which is the training thread, until
    another one is made there."""

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal = ordinal
        self.library = ctypes.CDLL("libcuda.so.1")
        self._bytes: Dict[int, int] = {}  # of every allocation, by address
        version = ctypes.c_int()
        assert self.library.cuDriverGetVersion(ctypes.byref(version)) == 0
        self._version = min(_VERSION, version.value)
        self.waits_before_it_frees = True  # for the work of `stream`; what else is under way is a race
        self._context = ctypes.c_void_p()
        self._ask("cuInit", ctypes.c_uint(0))
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), ctypes.c_int(ordinal))
        self._ask("cuCtxPushCurrent", self._context)
        self.stream = self.make_stream()
        self._byte = self.tensor(1, dtype=torch.uint8)

    def make_stream(self) -> int:
        made = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(made), ctypes.c_uint(_NON_BLOCKING))
        return made.value or 0

    def tensor(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Freed when nothing holds its memory any more."""
        elements = torch.Size(shape).numel()
        size, address = elements * dtype.itemsize, ctypes.c_uint64()
        self._call("cuMemAlloc", ctypes.byref(address), ctypes.c_size_t(size))
        memory = (ctypes.c_char * size).from_address(address.value)
        self._bytes[address.value] = size
        weakref.finalize(memory, self._free, address.value)
        return torch.frombuffer(memory, dtype=dtype, count=elements).view(shape)

    def like(self, values: torch.Tensor) -> torch.Tensor:
        made = self.tensor(*values.shape, dtype=values.dtype)
        self.put(made, values)
        return made

    def put(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """From the host."""
        self._call("cuMemcpyHtoDAsync", ctypes.c_uint64(tensor.data_ptr()), ctypes.c_void_p(values.data_ptr()),
                   ctypes.c_size_t(values.nbytes), ctypes.c_void_p(self.stream))  # fmt: skip

    def set(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """From the GPU, in place, as a kernel would do it: the host does not wait, and torch counts it."""
        self.set_unseen(tensor, values)
        torch.autograd.graph.increment_version(tensor)

    def set_unseen(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """The same by a kernel that torch does not know of: no counter moves."""
        self._call("cuMemcpyDtoDAsync", ctypes.c_uint64(tensor.data_ptr()), ctypes.c_uint64(values.data_ptr()),
                   ctypes.c_size_t(values.nbytes), ctypes.c_void_p(self.stream))  # fmt: skip

    def get(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the host; into memory that is not registered, for which the driver waits."""
        values = torch.empty(tensor.shape, dtype=tensor.dtype)
        self._call("cuMemcpyDtoHAsync", ctypes.c_void_p(values.data_ptr()), ctypes.c_uint64(tensor.data_ptr()),
                   ctypes.c_size_t(values.nbytes), ctypes.c_void_p(self.stream))  # fmt: skip
        return values

    def wait(self) -> None:
        """The host waits for all work of `stream`."""
        self.get(self._byte)

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """What is given to the stream is recorded and not run; fails when something broke the recording."""
        self._call("cuStreamBeginCapture", ctypes.c_void_p(self.stream), ctypes.c_int(_CAPTURE_RELAXED))
        yield
        graph = ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(self.stream), ctypes.byref(graph))

    def holds(self, tensor: torch.Tensor) -> bool:
        address = tensor.untyped_storage().data_ptr()
        return any(begin <= address < begin + size for begin, size in self._bytes.items())

    def live_allocations(self) -> int:
        return len(self._bytes)

    def die_after(self, copied_bytes: int) -> None:
        """SIGKILL, once so many bytes more have come from the GPU to the host."""
        self.library["_ZN10stillframe9fake_cuda20die_after_dtoh_bytesEm"](ctypes.c_uint64(copied_bytes))

    def hang(self) -> None:
        """Nothing more happens on `stream`."""
        self.library["_ZN10stillframe9fake_cuda11hang_streamEPNS_6device4cuda11CUstream_stE"](ctypes.c_void_p(self.stream))

    def release_streams(self) -> None:
        """Those that an injected error has made to hang."""
        self.library["_ZN10stillframe9fake_cuda15release_streamsEv"]()

    def stand_behind_the_door(self) -> None:
        """The package takes these tensors for those of this GPU, which computes on `stream`."""
        stand_behind_the_door([self])

    def capturing(self) -> bool:
        status = ctypes.c_int()
        self._call("cuStreamIsCapturing", ctypes.c_void_p(self.stream), ctypes.byref(status))
        return status.value != 0

    def _free(self, address: int) -> None:
        del self._bytes[address]
        if self.waits_before_it_frees and address != self._byte.data_ptr():
            self.wait()
        self._call("cuMemFree", ctypes.c_uint64(address))

    def _call(self, name: str, *arguments: Any) -> None:
        """With its own context current, whichever is so on this thread."""
        self._ask("cuCtxPushCurrent", self._context)
        try:
            self._ask(name, *arguments)
        finally:
            self._ask("cuCtxPopCurrent", ctypes.byref(ctypes.c_void_p()))

    def _ask(self, name: str, *arguments: Any) -> None:
        address, status = ctypes.c_void_p(), ctypes.c_int()
        self.library.cuGetProcAddress_v2(name.encode(), ctypes.byref(address), self._version,
                                         ctypes.c_uint64(_LEGACY_DEFAULT_STREAM), ctypes.byref(status))  # fmt: skip
        assert address.value, f"the fake has no {name}"
        types: List[Any] = [type(one) if isinstance(one, ctypes._SimpleCData) else ctypes.c_void_p for one in arguments]
        code = ctypes.CFUNCTYPE(ctypes.c_int, *types)(address.value)(*arguments)
        assert code == 0, f"{name}: error {code}"


def stand_behind_the_door(gpus: Sequence[FakeGpu]) -> None:
    """The package takes the tensors of each for those of that GPU, which computes on its `stream`. The first is the one that
    torch would call the current one."""

    def holder(tensor: torch.Tensor) -> Optional[FakeGpu]:
        return next((gpu for gpu in gpus if gpu.holds(tensor)), None)

    def device_of(tensor: torch.Tensor) -> int:
        gpu = holder(tensor)
        return _accelerator.HOST if gpu is None else gpu.ordinal

    def to_host(tensor: torch.Tensor) -> torch.Tensor:
        gpu = holder(tensor)
        return tensor if gpu is None else gpu.get(tensor)

    _accelerator.device_of = device_of
    _accelerator.stream_of = lambda ordinal: next(gpu.stream for gpu in gpus if gpu.ordinal == ordinal)
    _accelerator.to_host = to_host
    _accelerator.capturing = gpus[0].capturing
