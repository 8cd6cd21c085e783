"""The walk over a state: which entries a snapshot has, where their bytes are, and the tree that refers to them.

Nothing is copied here: an entry is an address and a length, and objects that keep the memory alive. The exceptions are
NumPy arrays with other strides than C or Fortran order (made contiguous), NumPy arrays of big-endian numbers, and
tensors of an accelerator that the library does not copy from (brought to the host); those are copied when
`Walk.pointers()` asks for them. Of a GPU's tensors the address is the GPU's: nothing of them is touched here.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Set, Tuple, Union

import torch

from . import _accelerator
from ._dtypes import NAME_BY_TORCH, name_of_numpy
from ._path import display, entry_name
from ._shards import local_of
from ._tree import Node, dump, encode
from ._types import type_name
from ._versions import VersionRecord, has_counter


@dataclass
class _View:
    """One tensor of the state: its node, completed at the end of the walk, and what it needs to be rebuilt."""

    node: Dict[str, Any]
    tensor: torch.Tensor
    name: str
    whole: torch.Tensor  # the tensor of the state, of which `tensor` may be the local part


@dataclass
class _Storage:
    """All tensors met on one storage."""

    name: str
    views: List[_View] = field(default_factory=list)


EntryLayout = Tuple[str, str, Tuple[int, ...], bool, bool, int]
Layout = Tuple[EntryLayout, ...]


@dataclass
class Entry:
    """One range of bytes of the snapshot: `shape` elements of `dtype` (safetensors name), contiguous, C order."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    guarded: bool
    address: int  # 0 when `source` has to be made contiguous, or brought to the host, first
    bytes: int
    source: Any  # keeps the memory alive
    trainable: bool = False
    device: int = _accelerator.HOST  # of the memory at `address`

    def layout(self) -> EntryLayout:
        return (self.name, self.dtype, self.shape, self.guarded, self.trainable, self.device)


@dataclass
class Walk:
    """The result: entries in the order of first sight, the tree's JSON text, guarded tensors with their names."""

    entries: List[Entry]
    tree_json: str
    guarded: List[Tuple[str, torch.Tensor]]

    def add_metric(self, name: str, tensor: torch.Tensor) -> str:
        """One element outside of the tree, also where the state holds its storage. The name of its entry."""
        entry = metric_entry(name, tensor, {entry.name for entry in self.entries})
        self.entries.append(entry)
        return entry.name

    def layout(self) -> Layout:
        """Equal for two walks exactly when one plan fits both."""
        return tuple(entry.layout() for entry in self.entries)

    def pointers(self) -> Tuple[List[int], List[Any]]:
        """One address per entry, and the objects that keep them valid."""
        return pointers(self.entries)

    def pointer_array(self) -> Tuple[Any, List[Any]]:
        """The same, as an array of C."""
        addresses, alive = pointers(self.entries)
        return (ctypes.c_void_p * len(addresses))(*addresses), alive

    def tree_utf8(self) -> bytes:
        return self.tree_json.encode("utf-8")

    def record(self) -> VersionRecord:
        """The version counters of the guarded tensors, as they are now."""
        return VersionRecord([name for name, _ in self.guarded], [tensor for _, tensor in self.guarded])


def pointers(entries: Sequence[Entry]) -> Tuple[List[int], List[Any]]:
    """One address per entry, and the objects that keep them valid. What has no contiguous host memory is copied."""
    addresses: List[int] = []
    alive: List[Any] = []
    for entry in entries:
        address, owner = (entry.address, entry.source) if entry.address or not entry.bytes else _stage(entry.source)
        addresses.append(address)
        alive.append(owner)
    return addresses, alive


def walk(value: Any, guarded_storages: FrozenSet[int] = frozenset(), root: Tuple[Any, ...] = (), *,
         lazy: bool = False, trained_storages: FrozenSet[int] = frozenset(),
         staged_storages: FrozenSet[int] = frozenset()) -> Walk:
    """Walks `value`. `guarded_storages` are storage_id()s whose memory only changes behind a fence,
    `trained_storages` those that an optimizer trains, `staged_storages` those that come to the host in the call when
    they are not there; `root` begins every path in a message, and no entry's name.
    With `lazy`, parameters without a shape yet are passed over: good for a check, not for a snapshot.

    TypeError with the path of the first leaf that cannot be stored.
    """
    sink = Sink(guarded_storages, trained_storages, staged_storages, lazy, len(root))
    node = encode(value, sink, root)
    sink.complete()
    return Walk(sink.entries, dump(node), sink.guarded)


def storage_id(tensor: torch.Tensor) -> int:
    """The same number for all tensors that share a storage; unique while one of them lives."""
    identity: int = local_of(tensor).untyped_storage()._cdata
    return identity


class Sink:
    """Collects what encode() hands out; complete() groups tensors by storage and fills in their nodes."""

    def __init__(self, guarded_storages: FrozenSet[int], trained_storages: FrozenSet[int],
                 staged_storages: FrozenSet[int], lazy: bool, unnamed: int) -> None:
        self.entries: List[Entry] = []
        self.guarded: List[Tuple[str, torch.Tensor]] = []
        self._guarded_storages = guarded_storages
        self._trained_storages = trained_storages
        self._staged_storages = staged_storages
        self._lazy = lazy
        self._unnamed = unnamed  # leading path parts that messages show and entry names leave out
        self._names: Set[str] = set()
        self._storages: Dict[int, _Storage] = {}
        self._order: List[Union[_Storage, Entry]] = []
        self._arrays: Dict[int, Tuple[Any, Dict[str, Any]]] = {}

    def tensor(self, value: torch.Tensor, path: List[Any]) -> Node:
        if isinstance(value, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)):
            if self._lazy:
                return None
            raise TypeError(f"{display(path)}: a lazy parameter without a shape yet; run the model once before")
        whole, value = value, local_of(value)
        _check_storable(value, path)
        key = storage_id(value)
        storage = self._storages.get(key)
        if storage is None:
            storage = self._storages[key] = _Storage(entry_name(path[self._unnamed :], self._names))
            self._order.append(storage)
            name = storage.name
        else:
            name = display(path)
        view = _View({"$tensor": None}, value, name, whole)
        storage.views.append(view)
        return view.node

    def array(self, value: Any, path: List[Any]) -> Node:
        known = self._arrays.get(id(value))
        if known is not None:
            return known[1]
        dtype = name_of_numpy(value.dtype.str) if value.dtype.kind in "biufc" else None
        if dtype is None or type_name(type(value)) not in ("numpy.ndarray", "numpy.memmap"):
            raise TypeError(
                f"{display(path)}: a {type_name(type(value))} of dtype {value.dtype} cannot be stored in a checkpoint"
            )
        fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
        direct = (fortran or value.flags.c_contiguous) and value.dtype.isnative
        shape = (int(value.size),) if fortran else tuple(int(extent) for extent in value.shape)
        address = int(value.ctypes.data) if direct and value.nbytes else 0
        name = entry_name(path[self._unnamed :], self._names)
        entry = Entry(name, dtype, shape, False, address, int(value.nbytes), value)
        node: Dict[str, Any] = {
            "$ndarray": {
                "entry": entry.name,
                "dtype": value.dtype.str,  # ">i4" says what the user had; the entry is little endian all the same
                "shape": [int(extent) for extent in value.shape],
                "order": "F" if fortran else "C",
            }
        }
        self._arrays[id(value)] = (value, node)
        self._order.append(entry)
        return node

    def blob(self, value: Union[bytes, bytearray], path: List[Any]) -> Node:
        name = entry_name(path[self._unnamed :], self._names)
        address, owner = _address_of(value)
        self._order.append(Entry(name, "U8", (len(value),), False, address, len(value), owner))
        return {"entry": name}

    def complete(self) -> None:
        for item in self._order:
            if not isinstance(item, _Storage):
                self.entries.append(item)
                continue
            entry = self._storage_entry(item)
            entry.trainable = storage_id(item.views[0].tensor) in self._trained_storages
            self.entries.append(entry)

    def _storage_entry(self, storage: _Storage) -> Entry:
        first = storage.views[0].tensor
        guarded = storage_id(first) in self._guarded_storages and all(
            has_counter(view.whole) for view in storage.views
        )
        if guarded:
            # The counter of a tensor that is spread is its own: that of its local part stands still.
            self.guarded.extend((view.name, view.whole) for view in storage.views)
        if _one_whole_view([view.tensor for view in storage.views]):
            for view in storage.views:
                view.node["$tensor"] = _whole_node(storage.name, view)
            dtype, shape = NAME_BY_TORCH[first.dtype], tuple(first.shape)
            return _entry(storage.name, dtype, shape, guarded, first, _extent([first]), self._place_of(first))
        return self._extent_entry(storage, guarded)

    def _place_of(self, tensor: torch.Tensor) -> int:
        device = _accelerator.device_of(tensor)
        demoted = device != _accelerator.HOST and storage_id(tensor) in self._staged_storages
        return _accelerator.STAGED if demoted else device

    def _extent_entry(self, storage: _Storage, guarded: bool) -> Entry:
        tensors = [view.tensor for view in storage.views]
        low, high = _extent(tensors)
        mixed = len({tensor.dtype for tensor in tensors}) > 1
        dtype = "U8" if mixed else NAME_BY_TORCH[tensors[0].dtype]
        width = 1 if mixed else tensors[0].element_size()
        for view in storage.views:
            view.node["$tensor"] = _view_node(storage.name, view, low)
        place = self._place_of(tensors[0])
        return _entry(storage.name, dtype, ((high - low) // width,), guarded, tensors[0], (low, high), place)


def _check_storable(value: torch.Tensor, path: List[Any]) -> None:
    kind = type(value)
    why: Optional[str] = None
    if kind is not torch.Tensor and not isinstance(value, torch.nn.Parameter):
        why = f"a tensor of type {type_name(kind)} cannot be stored in a checkpoint"
    elif value.layout != torch.strided:
        why = f"a tensor of layout {value.layout} cannot be stored in a checkpoint"
    elif value.is_nested or value.is_quantized or value.is_meta:
        why = "a nested, quantized or meta tensor cannot be stored in a checkpoint"
    elif value.dtype not in NAME_BY_TORCH:
        why = f"a tensor of {value.dtype} cannot be stored in a checkpoint"
    elif value.is_conj() or value.is_neg():
        why = "a lazily conjugated or negated view cannot be stored; call resolve_conj() or resolve_neg() first"
    elif _extent([value])[1] > value.untyped_storage().nbytes():
        why = f"its storage was resized to {value.untyped_storage().nbytes()} bytes, less than it needs"
    if why is not None:
        raise TypeError(f"{display(path)}: {why}")


def _one_whole_view(tensors: List[torch.Tensor]) -> bool:
    first = tensors[0]
    # Strides are compared, not is_contiguous(): that says nothing about dimensions of extent 0 or 1.
    strides = c_strides(first.shape)
    if first.stride() != strides:
        return False
    for other in tensors[1:]:
        same = other.dtype == first.dtype and other.shape == first.shape and other.stride() == strides
        if not same or (other.storage_offset() != first.storage_offset() and first.numel()):
            return False
    return True


def c_strides(shape: Sequence[int]) -> Tuple[int, ...]:
    """The strides torch gives a fresh tensor of this shape."""
    strides: List[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent if extent > 1 else 1
    return tuple(reversed(strides))


def _extent(tensors: List[torch.Tensor]) -> Tuple[int, int]:
    """Bytes [low, high) of the storage that the tensors use, `low` aligned for the widest of their elements."""
    low, high, widest = -1, 0, 1
    for tensor in tensors:
        if tensor.numel() == 0:
            continue
        width = tensor.element_size()
        begin = int(tensor.storage_offset()) * width
        last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride()))
        low = begin if low < 0 else min(low, begin)
        high = max(high, begin + (last + 1) * width)
        widest = max(widest, width)
    if low < 0:
        return 0, 0
    return low - low % widest, high


def _flags(view: _View) -> Dict[str, Any]:
    flags: Dict[str, Any] = {}
    tensor = view.tensor
    if isinstance(view.whole, torch.nn.Parameter):
        flags["parameter"] = True
    if view.whole.requires_grad:
        flags["requires_grad"] = True
    if tensor.device.type != "cpu":
        flags["device"] = str(tensor.device)
    return flags


def _whole_node(entry: str, view: _View) -> Union[str, Dict[str, Any]]:
    flags = _flags(view)
    return {"entry": entry, **flags} if flags else entry


def _view_node(entry: str, view: _View, low: int) -> Dict[str, Any]:
    tensor = view.tensor
    offset = tensor.storage_offset() - low // tensor.element_size() if tensor.numel() else 0
    return {
        "entry": entry,
        "dtype": NAME_BY_TORCH[tensor.dtype],
        "shape": list(tensor.shape),
        "stride": list(tensor.stride()),
        "offset": offset,
        **_flags(view),
    }


def _entry(name: str, dtype: str, shape: Tuple[int, ...], guarded: bool, tensor: torch.Tensor,
           extent: Tuple[int, int], device: int) -> Entry:
    low, high = extent
    if device == _accelerator.STAGED:
        # Staged by the call itself: nothing can change that copy, so it needs no second one.
        return Entry(name, dtype, shape, True, 0, high - low, _StorageRange(tensor.detach(), low, high))
    address = tensor.untyped_storage().data_ptr() + low if high > low else 0
    return Entry(name, dtype, shape, guarded, address, high - low, tensor, device=device)


def metric_entry(name: str, tensor: torch.Tensor, taken: Set[str]) -> Entry:
    """TypeError for a tensor that is no plain one."""
    path = ("metrics", name)
    _check_storable(tensor, list(path))
    place = _accelerator.device_of(tensor)
    return _entry(entry_name(path, taken), NAME_BY_TORCH[tensor.dtype], (), False, tensor, _extent([tensor]), place)


@dataclass
class _StorageRange:
    """Bytes [low, high) of the storage of a tensor on an accelerator."""

    tensor: torch.Tensor
    low: int
    high: int


def _stage(source: Any) -> Tuple[int, Any]:
    """A host copy of what has no contiguous host memory: its address and its owner."""
    if isinstance(source, _StorageRange):
        raw = torch.empty(0, dtype=torch.uint8, device=source.tensor.device)
        storage, size = source.tensor.untyped_storage(), (source.high - source.low,)
        raw.set_(storage, source.low, size)  # type: ignore[call-overload]
        host = _accelerator.to_host(raw)
        return host.data_ptr(), host
    import numpy

    order = "F" if source.flags.f_contiguous and not source.flags.c_contiguous else "C"
    array: Any = numpy.array(source, dtype=source.dtype.newbyteorder("<"), order=order)  # type: ignore[call-overload]
    return int(array.ctypes.data), array


def _address_of(value: Union[bytes, bytearray]) -> Tuple[int, Any]:
    if isinstance(value, bytes):
        return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value or 0, value
    buffer = (ctypes.c_char * len(value)).from_buffer(value)
    return ctypes.addressof(buffer), buffer
