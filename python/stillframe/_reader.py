"""A way through the checkpoints of a run, newest first, and load()."""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, TypeVar, Union

import torch

from . import _abi
from ._buffers import BufferSource, EntryInfo, allocate, map_location as location_of
from ._decode import decode, parse
from ._errors import CorruptError, MismatchError, NotFoundError
from ._replicated import whole_rank
from ._tree import Node
from ._types import TypeRegistry

_T = TypeVar("_T")


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that was passed over, and why. `step` is -1 when not even that can be read."""

    name: str
    step: int
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A checkpoint whose manifest is right. `entries` and `tree` of one rank, with what it leaves to rank 0."""

    name: str
    step: int
    metrics: Dict[str, Node]
    entries: Dict[str, EntryInfo]
    tree: Node


class Reader:
    """Owns an sf_reader. NotFoundError when the address has no checkpoint, CorruptError when none can be read."""

    def __init__(self, address: str, rank: int, handle: Optional[ctypes.c_void_p] = None) -> None:
        """`handle`: of a reader that is open already, which `address` then only names."""
        self._library = _abi.library()
        self._reader = ctypes.c_void_p() if handle is None else handle
        self._rank = rank
        self._address = address
        if handle is not None:
            return
        encoded = address.encode("utf-8", "surrogateescape")
        _abi.check(self._library.sf_reader_open(encoded, ctypes.byref(self._reader)))

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: Any) -> None:
        self._library.sf_reader_destroy(self._reader)
        self._reader = ctypes.c_void_p()

    def candidate(self) -> Candidate:
        manifest: Any = parse(_abi.text_of("sf_reader_manifest", self._reader) or "")
        name = self.name()
        try:
            ranks = {int(rank["rank"]): rank for rank in manifest["ranks"]}
            if self._rank not in ranks:
                # Older ones are not tried: the other ranks would restore this one.
                raise MismatchError(f"{name} holds ranks {sorted(ranks)} and not rank {self._rank}; nothing was touched")
            tree, entries = whole_rank(ranks[self._rank], self._rank, ranks.get(0))
            return Candidate(name, int(manifest["step"]), dict(manifest["metrics"]), entries, tree)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"the manifest of {name} is malformed: {error!r}") from None

    def name(self) -> str:
        return _abi.text_of("sf_reader_name", self._reader) or ""

    def source(self) -> str:
        """Where the bytes come from: "memory" or "store"."""
        return _abi.text_of("sf_reader_source", self._reader) or ""

    def read(self, candidate: Candidate, targets: Dict[str, torch.Tensor]) -> None:
        """Fills contiguous tensors on the host, one for each named entry of the candidate."""
        by_rank: Dict[int, List[Tuple[str, torch.Tensor]]] = {}
        for name, tensor in targets.items():
            by_rank.setdefault(candidate.entries[name].rank, []).append((name, tensor))
        for rank, wanted in by_rank.items():
            array = (_abi.Target * len(wanted))()
            for target, (name, tensor) in zip(array, wanted):
                target.name = name.encode("utf-8")
                target.data = tensor.data_ptr() or None
                target.bytes = tensor.nbytes
            _abi.check(self._library.sf_reader_read(self._reader, rank, array, len(wanted), 0))

    def skipped(self) -> List[Skipped]:
        listed: Any = parse(_abi.text_of("sf_reader_skipped", self._reader) or "[]")
        return [Skipped(str(item["name"]), int(item["step"]), str(item["reason"])) for item in listed]

    def newest(self, attempt: Callable[[Candidate], _T], on_exhausted: str) -> Tuple[_T, Candidate]:
        """The result of `attempt` on the newest checkpoint that can be read; a CorruptError sends it to the next older.
        When none is left: CorruptError with every reason and `on_exhausted`."""
        while True:
            name = self.name()
            try:
                candidate = self.candidate()
                return attempt(candidate), candidate
            except CorruptError as error:
                reason = str(error)
            code = self._library.sf_reader_next(self._reader, reason.encode("utf-8", "replace"))
            if code != _abi.OK:
                why = "; ".join(f"{item.name}: {item.reason}" for item in self.skipped()) or f"{name}: {reason}"
                raise CorruptError(f"no checkpoint of {self._address} can be read ({why}). {on_exhausted}")


def load(address: Union[str, "os.PathLike[str]"], *, map_location: Optional[Union[str, torch.device]] = "cpu",
         types: Iterable[type] = (), rank: int = 0) -> Any:
    """The tree of a checkpoint, in fresh memory: tied tensors tied, views with their strides, dtypes as saved.

    address       "runs/gpt", "runs/gpt@latest", "runs/gpt@1000", "runs/gpt:other@latest"
    map_location  device of all tensors; None: where each was saved, if this machine has it
    types         namedtuple and Enum classes that the tree may hold and that no imported module has
    rank          whose tree, of a group's checkpoint; with what that rank has left to rank 0

    Nothing in the file is executed or imported. Raises NotFoundError, and CorruptError when no checkpoint can be read;
    warns (RuntimeWarning) of each one that was passed over.
    """
    with Reader(os.fspath(address), rank) as reader:

        def attempt(candidate: Candidate) -> Any:
            buffers = {name: allocate(info) for name, info in candidate.entries.items()}
            reader.read(candidate, buffers)
            source = BufferSource(candidate.entries, buffers, location_of(map_location))
            return decode(candidate.tree, source, TypeRegistry(types))

        tree, _ = reader.newest(attempt, "Nothing was loaded.")
        for item in reader.skipped():
            warnings.warn(
                f"stillframe: load passed over {item.name} (step {item.step}): {item.reason}",
                RuntimeWarning,
                stacklevel=2,
            )
        return tree
