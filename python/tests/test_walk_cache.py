"""A walk that was kept never gives what no longer holds: after every change that can come without a word, a snapshot is
what a walk made anew gives at that moment."""

from __future__ import annotations

import gc
import warnings
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
import torch
from torch import nn

import stillframe
from stillframe import _look, _walk_cache
from stillframe._state import TrainingState
from stillframe._walk import walk
from stillframe._walk_cache import CachedWalk, WalkCache
from support import round_trip, same
from training import DEADLINE_SECONDS, Run, no_warnings

pytestmark = pytest.mark.usefixtures("library")


class Rig(Run):
    """A run with ties, buffers of both kinds, a complex parameter, and an optimizer with state."""

    def __init__(self) -> None:
        super().__init__()
        self.model[0].tied = nn.Linear(8, 32)  # no part of the forward pass
        self.model[0].tied.weight = self.model[0].weight
        self.model.register_buffer("table", torch.arange(6.0))
        self.model.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.model.register_buffer("absent", None)
        self.model.register_parameter("phase", nn.Parameter(torch.randn(4, dtype=torch.complex64)))
        self.frozen = nn.Parameter(torch.randn(5))
        self.extra: Any = {"epoch": 1}

    @property
    def weight(self) -> nn.Parameter:
        return self.model[0].weight

    @property
    def moments(self) -> Dict[str, Any]:
        return self.optimizer.state[self.weight]

    def now(self) -> Any:
        """What a walk made anew gives at this moment, as it comes back from a store."""
        state = TrainingState(self.model, self.optimizer, self.scheduler, True, None)
        return round_trip(state.collect(self.extra))


@pytest.fixture(params=["exchange", "plain"])
def look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to look at tensors: by the library, which a torch of today allows, and one by one."""
    if request.param == "plain":
        monkeypatch.setattr(_look, "_accesses", [None])
    elif _look._access() is None:
        pytest.skip("this torch has no DLPack exchange of C")
    yield


def _data(rig: Rig, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    rig.weight.data = change(rig.weight.data)


def _unfinished(rig: Rig) -> None:
    def lose(module: Any, state: Dict[str, Any], prefix: str, metadata: Any) -> None:
        state.pop(prefix + "table")

    rig.model._register_state_dict_hook(lose)


def _own_state_dict(rig: Rig) -> None:
    rig.model[0].state_dict = lambda destination, prefix, keep_vars: destination.update({prefix + "own": 3})


class _WithExtra(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"seen": 12}


def _renamed(rig: Rig) -> None:
    rig.model[0]._modules["other"] = rig.model[0]._modules.pop("tied")


def _flat(rig: Rig) -> None:
    whole = torch.cat([rig.weight.data.flatten(), rig.model[0].bias.data])
    rig.weight.data, rig.model[0].bias.data = whole[:-32].view(32, 8), whole[-32:]


CHANGES: Dict[str, Callable[[Rig], Any]] = {
    "nothing": lambda rig: None,
    "a step": lambda rig: rig.step(),
    # The memory or the form of a tensor that stays the same object.
    "data replaced": lambda rig: _data(rig, lambda data: data + 1),
    "data of another shape in the same memory": lambda rig: _data(rig, lambda data: data.view(8, 32)),
    "data of other strides in the same memory": lambda rig: _data(rig, lambda data: data.t()),
    "data of another dtype": lambda rig: _data(rig, lambda data: data.double()),
    "half the data": lambda rig: _data(rig, lambda data: data[:16]),
    "data swapped": lambda rig: setattr(rig.model[4].bias, "data", rig.model.table[:4]),
    "data moved into one flat storage": _flat,
    "state seen as another dtype": lambda rig: setattr(
        rig.moments["exp_avg"], "data", rig.moments["exp_avg"].data.view(torch.int32)
    ),
    "buffer resized": lambda rig: rig.model.table.resize_(2),
    "buffer set to other memory": lambda rig: rig.model.table.set_(torch.ones(6)),
    "buffer turned over": lambda rig: rig.model.table.unsqueeze_(0),
    "storage grown": lambda rig: rig.model.table.untyped_storage().resize_(1 << 16),
    "whole model in another dtype": lambda rig: rig.model.double(),
    # Other objects in the same place.
    "parameter replaced": lambda rig: setattr(rig.model[0], "weight", nn.Parameter(torch.ones(2, 2))),
    "parameter of the same memory": lambda rig: setattr(
        rig.model[0], "weight", nn.Parameter(rig.weight.data.view(16, 16))
    ),
    "parameter frozen": lambda rig: rig.model[4].weight.requires_grad_(False),
    "parameter removed": lambda rig: delattr(rig.model, "phase"),
    "parameter made None": lambda rig: setattr(rig.model[4], "bias", None),
    "buffer replaced by a view": lambda rig: setattr(rig.model, "table", rig.model.table[1:4]),
    "buffer added": lambda rig: rig.model.register_buffer("more", torch.ones(2)),
    "buffer that was None": lambda rig: setattr(rig.model, "absent", torch.ones(2)),
    "buffer removed": lambda rig: delattr(rig.model, "table"),
    "buffer no longer saved": lambda rig: rig.model._non_persistent_buffers_set.add("table"),
    "buffer saved from now on": lambda rig: rig.model._non_persistent_buffers_set.clear(),
    "parameters in another order": lambda rig: rig.model[0]._parameters.update(
        weight=rig.model[0]._parameters.pop("weight")
    ),
    "dict of the parameters replaced": lambda rig: setattr(
        rig.model[4], "_parameters", {"weight": nn.Parameter(torch.ones(2)), "bias": None}
    ),
    "tie cut": lambda rig: setattr(rig.model[0].tied, "weight", nn.Parameter(rig.weight.data.clone())),
    "tie made": lambda rig: setattr(rig.model[0].tied, "bias", rig.model[0].bias),
    "submodule replaced": lambda rig: rig.model.__setitem__(4, nn.Linear(3, 3)),
    "submodule added": lambda rig: rig.model[0].add_module("inner", nn.Linear(2, 2)),
    "submodule removed": lambda rig: delattr(rig.model[0], "tied"),
    "submodule renamed": _renamed,
    "weights assigned": lambda rig: rig.model.load_state_dict(
        {key: value.clone() for key, value in rig.model.state_dict().items()}, assign=True
    ),
    # What decides about the state dict.
    "state dict hook": _unfinished,
    "state dict of one submodule": _own_state_dict,
    "class with extra state": lambda rig: setattr(rig.model[4], "__class__", _WithExtra),
    # The optimizer.
    "state replaced": lambda rig: rig.moments.update(exp_avg=rig.moments["exp_avg"] * 2),
    "state of another dtype": lambda rig: rig.moments.update(exp_avg=rig.moments["exp_avg"].double()),
    "state cleared": lambda rig: rig.optimizer.state.clear(),
    "state of one parameter gone": lambda rig: rig.optimizer.state.pop(rig.weight),
    "state entry added": lambda rig: rig.moments.update(extra=torch.ones(3)),
    "state entry removed": lambda rig: rig.moments.pop("exp_avg_sq"),
    "state entry a number": lambda rig: rig.moments.update(step=17),
    "state entry a list": lambda rig: rig.moments.update(history=[1.0, 2.0]),
    "state of a parameter replaced whole": lambda rig: rig.optimizer.state.update(
        {rig.weight: {"step": torch.ones(1)}}
    ),
    "state loaded": lambda rig: rig.optimizer.load_state_dict(rig.optimizer.state_dict()),
    "param group added": lambda rig: rig.optimizer.add_param_group({"params": [rig.frozen], "lr": 3.0}),
    "parameter added to a group": lambda rig: rig.optimizer.param_groups[0]["params"].append(rig.frozen),
    "learning rate": lambda rig: rig.optimizer.param_groups[0].update(lr=0.125),
    "learning rate of another type": lambda rig: rig.optimizer.param_groups[0].update(lr=1),
    "learning rate a tensor": lambda rig: rig.optimizer.param_groups[0].update(lr=torch.tensor(0.25)),
    "betas": lambda rig: rig.optimizer.param_groups[0].update(betas=(0.5, 0.75)),
    "negative zero": lambda rig: rig.optimizer.param_groups[0].update(weight_decay=-0.0),
    "group key added": lambda rig: rig.optimizer.param_groups[0].update(layer="first"),
    "group of a list": lambda rig: rig.optimizer.param_groups[0].update(history=[[1], [2.5]]),
    # The rest.
    "schedule": lambda rig: rig.scheduler.step(),
    "generator": lambda rig: torch.randn(3),
    "extra number": lambda rig: rig.extra.update(epoch=2),
    "extra tensor": lambda rig: rig.extra.update(mean=torch.randn(7)),
    "extra that shares a parameter": lambda rig: rig.extra.update(again=rig.weight.detach()[2:4]),
    "extra of another type": lambda rig: setattr(rig, "extra", [None]),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_snapshot_after_a_change_is_that_of_a_walk_made_anew(change: str, tmp_path: Path, look: None) -> None:
    rig = Rig()
    rig.step()
    with rig.checkpointer(tmp_path) as ckpt:
        for step in range(2):
            ckpt.snapshot(step, extra=rig.extra).wait_captured(DEADLINE_SECONDS)
        ckpt.fence()
        CHANGES[change](rig)
        for step in (2, 3):  # the walk is made anew, or not; and kept again
            expected = rig.now()
            ckpt.snapshot(step, extra=rig.extra).wait_durable(DEADLINE_SECONDS)
            assert same(stillframe.load(f"{tmp_path}@{step}"), expected), f"step {step} after {change}"


def test_values_that_change_at_every_step_are_those_of_the_call(tmp_path: Path, look: None) -> None:
    rig = Rig()
    rig.step()
    rig.optimizer.param_groups[0]["warm"] = [1, 2]
    with rig.checkpointer(tmp_path) as ckpt, no_warnings():
        for step in range(4):
            # Python numbers in the state, as older optimizers have them, change in place like everything else.
            rig.moments["count"] = step
            rig.optimizer.param_groups[0]["warm"].append(step)
            rig.extra = {"epoch": step, "history": list(range(step))}
            expected = rig.now()
            ckpt.snapshot(step, extra=rig.extra).wait_durable(DEADLINE_SECONDS)
            assert same(stillframe.load(f"{tmp_path}@{step}"), expected)
            rig.step()


def test_what_shares_memory_with_a_kept_tensor_shares_it_again(tmp_path: Path) -> None:
    rig = Rig()
    with rig.checkpointer(tmp_path) as ckpt:
        for step, extra in enumerate((None, {"part": rig.weight.detach()[2:4]}, None, {"part": rig.model.table})):
            ckpt.snapshot(step, extra=extra).wait_durable(DEADLINE_SECONDS)
    first, second = stillframe.load(f"{tmp_path}@1"), stillframe.load(f"{tmp_path}@3")
    first["model"]["0.weight"][2:4] = 5.0
    second["model"]["table"].fill_(6.0)
    assert torch.equal(first["extra"]["part"], torch.full((2, 8), 5.0))
    assert torch.equal(second["extra"]["part"], torch.full((6,), 6.0))


def test_a_lazily_conjugated_parameter_in_the_same_memory_is_refused_by_name(tmp_path: Path, look: None) -> None:
    rig = Rig()
    with rig.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0).wait_durable(DEADLINE_SECONDS)
        rig.model.phase.data = rig.model.phase.data.conj()
        with pytest.raises(TypeError, match=r"model\['phase'\].*conj"):
            ckpt.snapshot(1)


def test_a_storage_resized_to_nothing_is_refused_by_name(tmp_path: Path, look: None) -> None:
    rig = Rig()
    with rig.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0).wait_durable(DEADLINE_SECONDS)
        rig.weight.untyped_storage().resize_(0)
        with pytest.raises(TypeError, match=r"model\['0.weight'\]: its storage was resized to 0 bytes"):
            ckpt.snapshot(1)


def test_memory_given_up_before_the_fence_is_copied_all_the_same(tmp_path: Path) -> None:
    rig = Rig()
    rig.step()
    with rig.checkpointer(tmp_path) as ckpt:
        for step in range(3):
            expected = rig.now()
            ckpt.snapshot(step, extra=rig.extra)
            with torch.no_grad():
                for parameter, state in rig.optimizer.state.items():
                    parameter.data = torch.full_like(parameter.data, 7.0)
                    state["exp_avg"].data = torch.full_like(parameter.data, 8.0)
                    state["exp_avg_sq"] = torch.full_like(parameter.data, 9.0)
            ckpt.fence()
            ckpt.snapshot(10 + step, wait=True).wait_durable(DEADLINE_SECONDS)
            assert same(stillframe.load(f"{tmp_path}@{step}"), expected)


def test_a_kept_walk_keeps_no_memory(look: None) -> None:
    rig = Rig()
    rig.step()
    cache = WalkCache(TrainingState(rig.model, rig.optimizer, None, False, None))
    walked: Optional[Any] = cache.take(None)
    walked = cache.take(None)
    assert isinstance(walked, CachedWalk)
    old = weakref.ref(rig.moments["exp_avg"])
    rig.moments["exp_avg"] = torch.zeros(32, 8)
    gone = weakref.ref(rig.model.phase)
    del rig.model.phase, walked
    gc.collect()
    assert old() is None and gone() is None


PLAN_CHANGES = ["parameter frozen", "tie cut", "param group added", "data moved into one flat storage"]


@pytest.mark.parametrize("change", PLAN_CHANGES)
def test_the_plan_made_of_a_kept_walk_is_that_of_a_walk_made_anew(change: str, look: None) -> None:
    rig = Rig()
    rig.step()
    state = TrainingState(rig.model, rig.optimizer, None, False, None)
    cache = WalkCache(state)
    cache.take(None)
    CHANGES[change](rig)
    guarded, trained = state.storages()
    anew = walk(state.collect(None), guarded, trained_storages=trained)
    kept = cache.take(None)
    assert kept.layout() == anew.layout() and list(kept.pointer_array()[0]) == anew.pointers()[0]
    assert kept.tree_utf8() == anew.tree_utf8()


def test_an_unchanged_state_is_not_walked_again(look: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.step()
    state = TrainingState(rig.model, rig.optimizer, rig.scheduler, True, None)
    cache = WalkCache(state)
    cache.take(None)
    monkeypatch.setattr(state, "tracked", lambda: pytest.fail("the models and optimizers were asked for their state"))
    for _ in range(3):
        rig.step()
        assert isinstance(cache.take({"epoch": 1}), CachedWalk)


def test_the_first_snapshot_finds_the_state_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.step()
    whole: List[Any] = []
    walk_all = _walk_cache._walk_all
    monkeypatch.setattr(_walk_cache, "_walk_all", lambda *given: (whole.append(given), walk_all(*given))[1])
    with run.checkpointer(tmp_path) as ckpt:
        assert len(whole) == 1
        ckpt.snapshot(1, extra={"epoch": 3}).wait_verified(DEADLINE_SECONDS)
        assert len(whole) == 1
    fresh = Run(seed=99)
    with fresh.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.extra == {"epoch": 3}
        walked = len(whole)
        ckpt.snapshot(2)
        assert len(whole) == walked
    assert same(stillframe.load(f"{tmp_path}@2")["model"], run.model.state_dict())


def test_a_model_that_is_lazy_when_it_is_given_is_walked_by_its_first_snapshot(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.LazyLinear(3)
    with stillframe.Checkpointer(tmp_path, model=model) as ckpt:
        model(torch.zeros(2, 5))
        assert ckpt.snapshot(1).wait_verified(DEADLINE_SECONDS)


def test_what_cannot_be_kept_is_walked_whole(tmp_path: Path) -> None:
    class Wrapped(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return {"mine": torch.ones(3), "shared": self.weight.detach()}

    model = Wrapped(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        for step in range(2):
            ckpt.snapshot(step).wait_durable(DEADLINE_SECONDS)
    saved = stillframe.load(tmp_path)["model"]
    assert same(saved, {"mine": torch.ones(3), "shared": model.weight.detach()})


def _sgd(module: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=lr)


CONTAINER_CHANGES: Dict[str, Callable[[Dict[str, nn.Module], List[Any]], Any]] = {
    "model replaced": lambda models, optimizers: models.update(a=nn.Linear(4, 3)),
    "model added": lambda models, optimizers: models.update(c=nn.Linear(4, 3)),
    "model removed": lambda models, optimizers: models.pop("b"),
    "model renamed": lambda models, optimizers: models.update(z=models.pop("a")),
    "models reordered": lambda models, optimizers: models.update(a=models.pop("a")),
    "optimizer replaced": lambda models, optimizers: optimizers.__setitem__(0, _sgd(models["a"], 9.0)),
    "optimizer added": lambda models, optimizers: optimizers.append(_sgd(models["b"], 9.0)),
    "optimizers reordered": lambda models, optimizers: optimizers.reverse(),
}


@pytest.mark.parametrize("change", list(CONTAINER_CHANGES))
def test_the_callers_own_dict_of_models_and_list_of_optimizers_are_looked_at_again(
    change: str, tmp_path: Path, look: None
) -> None:
    models: Dict[str, nn.Module] = {"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)}
    optimizers = [_sgd(models["a"]), _sgd(models["b"], 0.2)]
    with stillframe.Checkpointer(tmp_path, model=models, optimizer=optimizers) as ckpt:
        for step in range(2):
            ckpt.snapshot(step).wait_durable(DEADLINE_SECONDS)
        CONTAINER_CHANGES[change](models, optimizers)
        expected = round_trip(TrainingState(models, optimizers, None, False, None).collect(None))
        ckpt.snapshot(2).wait_durable(DEADLINE_SECONDS)
        assert same(stillframe.load(f"{tmp_path}@2"), expected)


def test_an_optimizer_whose_parameters_cannot_be_looked_at_is_walked_as_before(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    elsewhere = nn.Parameter(torch.empty(3, device="meta"))  # in no tree that is saved
    optimizer = torch.optim.SGD([*model.parameters(), elsewhere], lr=0.1)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        for step in range(2):
            assert ckpt.snapshot(step).wait_durable(DEADLINE_SECONDS)
