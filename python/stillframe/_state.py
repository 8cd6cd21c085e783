"""The stateful objects of a training run, as one tree."""

from __future__ import annotations

import collections
import random
import sys
import weakref
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Set, Tuple, Union

import torch

from ._optimizer_size import Size, state_to_come
from ._replicated import FROM_RANK_0, PARTS
from ._scaler import is_scaler, scaler_state
from ._walk import storage_id

Path = Tuple[Any, ...]


def each(name: str, objects: Any) -> List[Tuple[Path, Any]]:
    """(path, object) for one object, or for every one of a dict, list or tuple of them."""
    if objects is None:
        return []
    if isinstance(objects, Mapping):
        return [((name, key), value) for key, value in objects.items()]
    if isinstance(objects, (list, tuple)):
        return [((name, index), value) for index, value in enumerate(objects)]
    return [((name,), objects)]


def gather(objects: Any, state_of: Callable[[Any], Any]) -> Any:
    if isinstance(objects, Mapping):
        return {key: state_of(value) for key, value in objects.items()}
    if isinstance(objects, (list, tuple)):
        return [state_of(value) for value in objects]
    return state_of(objects)


class TrainingState:
    """What a Checkpointer tracks. Each of model, optimizer and scheduler is one object, or a dict or list of them;
    `state` is a dict of further objects (with state_dict() or any tree) or a callable that returns a tree."""

    def __init__(self, model: Any, optimizer: Any, scheduler: Any, rng: bool,
                 state: Union[None, Dict[str, Any], Callable[[], Any]]) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.rng = rng
        self.state = state
        self._guarded: List[torch.Tensor] = []  # by the user's word
        self._demoted: "List[weakref.ref[torch.Tensor]]" = []
        self._left_to_rank_0: List[str] = []
        self.guard_changes = 0  # how often guard() or demote() was called
        if state is not None and not callable(state) and not isinstance(state, dict):
            raise TypeError(f"state= takes a dict or a callable, not {type(state).__name__}")
        for part, needed in ((model, "state_dict"), (optimizer, "param_groups"), (scheduler, "state_dict")):
            for path, value in each("", part):
                if not hasattr(value, needed):
                    raise TypeError(f"a {type(value).__name__} has no {needed}: it cannot be tracked (path {path[1:]})")

    @property
    def optimizers(self) -> List[Any]:
        return [optimizer for _, optimizer in each("optimizer", self.optimizer)]

    def own_part(self) -> "TrainingState":
        """What a rank other than 0 takes itself where rank 0 takes models and optimizers for all."""
        own = TrainingState(None, None, self.scheduler, self.rng, self.state)
        own._left_to_rank_0 = [part for part in PARTS if getattr(self, part) is not None]
        return own

    def tracked(self) -> Dict[str, Any]:
        """The part of the tree that is the models' and the optimizers'."""
        tree: Dict[str, Any] = {}
        if self.model is not None:
            tree["model"] = gather(self.model, lambda module: module.state_dict())
        if self.optimizer is not None:
            tree["optimizer"] = gather(self.optimizer, lambda optimizer: optimizer.state_dict())
        return tree

    def rest(self, extra: Any) -> Dict[str, Any]:
        """The other parts of the tree, which come after."""
        tree: Dict[str, Any] = {FROM_RANK_0: self._left_to_rank_0} if self._left_to_rank_0 else {}
        if self.scheduler is not None:
            tree["scheduler"] = gather(self.scheduler, lambda scheduler: without_counters(scheduler.state_dict()))
        if self.rng:
            tree["rng"] = rng_state()
        if self.state is not None:
            tree["state"] = self.state() if callable(self.state) else gather(self.state, _any_state)
        tree["extra"] = extra
        return tree

    def collect(self, extra: Any) -> Dict[str, Any]:
        """The tree of this moment. Nothing is copied but Python scalars."""
        return {**self.tracked(), **self.rest(extra)}

    def to_come(self) -> Size:
        """What the optimizers will keep after their first step, and do not keep yet."""
        return sum((state_to_come(optimizer) for optimizer in self.optimizers), Size())

    def guard(self, tensors: List[torch.Tensor]) -> None:
        """From now on these are guarded, whatever was found of them before."""
        self.guard_changes += 1
        known = set(map(id, self._guarded))
        self._guarded += [tensor for tensor in tensors if id(tensor) not in known]
        again = set(map(storage_id, tensors))
        self._demoted = [one for one in self._demoted if not _stands_in(one, again)]

    def guard_what(self, other: "TrainingState") -> None:
        """The user's word on tensors that was given to the other."""
        self.guard(other._guarded)

    def demote(self, tensors: List[torch.Tensor]) -> None:
        """From now on these, and what shares their memory, are not guarded: they were changed without a fence. With a step
        counter all of its parameter group, since a fused update moves the version counter of nothing else."""
        self.guard_changes += 1
        storages = set(map(storage_id, tensors))
        storages.update([storage_id(one) for one in self._of_groups_that_stepped(storages)])
        self._demoted += [weakref.ref(tensor) for tensor in self._guardable() if storage_id(tensor) in storages]

    def demoted_storages(self) -> FrozenSet[int]:
        alive = (reference() for reference in self._demoted)
        return frozenset(storage_id(tensor) for tensor in alive if tensor is not None)

    def guarded_storages(self) -> FrozenSet[int]:
        """Storages that change only behind a fence by the user's word."""
        return frozenset(map(storage_id, self._guarded)) - self.demoted_storages()

    def storages(self) -> Tuple[FrozenSet[int], FrozenSet[int]]:
        """Storages that change only behind a fence: parameters of the tracked optimizers, their state, and what the user
        guards; and of these the parameters that are trained."""
        guarded = frozenset(map(storage_id, self._guardable()))
        trained = frozenset(storage_id(parameter) for parameter in self._parameters() if parameter.requires_grad)
        return guarded - self.demoted_storages(), trained

    def _of_groups_that_stepped(self, moved: Set[int]) -> Iterator[torch.Tensor]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                states = [optimizer.state[one] for one in group["params"] if one in optimizer.state]
                counters = [state["step"] for state in states if isinstance(state, dict) and "step" in state]
                if any(storage_id(one) in moved for one in _tensors_in(counters)):
                    yield from _tensors_in([group["params"], states])

    def _parameters(self) -> Iterator[torch.Tensor]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if not isinstance(parameter, torch.nn.UninitializedParameter):
                        yield parameter

    def _guardable(self) -> Iterator[torch.Tensor]:
        yield from self._parameters()
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                yield from _tensors_in(state)
        yield from self._guarded


def _stands_in(reference: "weakref.ref[torch.Tensor]", storages: Set[int]) -> bool:
    tensor = reference()
    return tensor is not None and storage_id(tensor) in storages


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.layout == torch.strided and not value.is_meta:
            yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(item)


def _any_state(value: Any) -> Any:
    if is_scaler(value):
        return scaler_state(value)
    return value.state_dict() if hasattr(value, "state_dict") else value


# MultiStepLR keeps a Counter, which is a dict to a checkpoint; restore turns it back where the live object has one.
def without_counters(value: Any) -> Any:
    if isinstance(value, dict):
        if type(value) not in (dict, collections.Counter):
            return value
        return {key: without_counters(item) for key, item in value.items()}
    return [without_counters(item) for item in value] if type(value) is list else value


def with_counters(saved: Any, live: Any) -> Any:
    """`saved` with Counters where `live`, of the same structure, has them."""
    if isinstance(saved, dict) and isinstance(live, collections.Counter):
        return collections.Counter(saved)
    if type(saved) is dict and isinstance(live, dict):
        return {key: with_counters(item, live.get(key)) for key, item in saved.items()}
    if type(saved) is list and type(live) is list and len(saved) == len(live):
        return [with_counters(item, other) for item, other in zip(saved, live)]
    return saved


def rng_state() -> Dict[str, Any]:
    """The states of Python's, NumPy's (when imported), torch's and CUDA's (when initialised) global generators."""
    state: Dict[str, Any] = {"python": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state["numpy"] = numpy.random.get_state()
    state["torch"] = torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: Dict[str, Any]) -> None:
    """Puts back what rng_state() returned; a generator that this process does not have is passed over."""
    random.setstate(state["python"])
    if "numpy" in state:
        import numpy

        numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    cuda: Optional[List[torch.Tensor]] = state.get("cuda")
    if cuda is not None and torch.cuda.is_available():
        for index, one in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one.cpu(), index)
