"""What a kept walk must not be: a second walk of what cannot be kept, or looser than a walk made anew."""

from __future__ import annotations

from typing import Any, Callable, Dict

import pytest
import torch
from torch import nn

from stillframe import _accelerator, _walk_cache
from stillframe._state import TrainingState
from stillframe._tree import MAX_DEPTH
from stillframe._walk import walk
from stillframe._walk_cache import CachedWalk, WalkCache
from training import Run

pytestmark = pytest.mark.usefixtures("library")


def state_of(run: Run) -> TrainingState:
    return TrainingState(run.model, run.optimizer, None, False, None)


def first_state(run: Run) -> Dict[str, Any]:
    state: Dict[str, Any] = run.optimizer.state[next(run.model.parameters())]
    return state


def own_state_dict(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.model.register_state_dict_post_hook(lambda *_: None)  # type: ignore[no-untyped-call]


def meta_parameter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.optimizer.add_param_group({"params": [nn.Parameter(torch.empty(3, device="meta"))]})


def list_in_the_state(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first_state(run)["history"] = [1.0, 2.0]


def other_accelerator(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_accelerator, "device_of", lambda tensor: _accelerator.STAGED)


@pytest.mark.parametrize("make", [own_state_dict, meta_parameter, list_in_the_state, other_accelerator])
def test_what_cannot_be_kept_is_walked_once(
    make: Callable[[Run, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    run.step()
    make(run, monkeypatch)
    walks = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        walks.append(1)
        return walk(*args, **kwargs)

    monkeypatch.setattr(_walk_cache, "walk", counted)
    cache = WalkCache(state_of(run))
    for times in (1, 2, 3):
        assert not isinstance(cache.take(None), CachedWalk)
        assert len(walks) == times


def test_a_tensor_that_lost_its_counter_is_kept_again() -> None:
    run = Run()
    run.step()
    cache = WalkCache(state_of(run))
    guarded = [one[0] for one in cache.take(None).layout() if one[3]]
    moments = first_state(run)
    with torch.inference_mode():
        # The same memory in a tensor that torch keeps no counter for.
        moments["exp_avg"] = torch.from_numpy(moments["exp_avg"].numpy())
    found = [cache.take(None) for _ in range(3)]
    assert isinstance(found[-1], CachedWalk)
    for one in found:
        assert set(guarded) - {entry[0] for entry in one.layout() if entry[3]} == {"optimizer.state.0.exp_avg"}


def nested(levels: int) -> Any:
    value: Any = 7
    for _ in range(levels):
        value = [value]
    return value


def test_extra_may_be_nested_as_deep_as_in_a_walk_made_anew() -> None:
    run = Run()
    run.step()
    cache = WalkCache(state_of(run))
    cache.take(None)
    around = 1  # the tree itself
    assert isinstance(cache.take(nested(MAX_DEPTH - around)), CachedWalk)
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH} levels"):
        cache.take(nested(MAX_DEPTH - around + 1))


def test_a_value_of_a_group_may_be_nested_as_deep_as_in_a_walk_made_anew() -> None:
    run = Run()
    run.step()
    group = run.optimizer.param_groups[0]
    group["plan"] = None
    cache = WalkCache(state_of(run))
    cache.take(None)
    around = 4  # the tree, the optimizer, its list of groups, the group
    group["plan"] = nested(MAX_DEPTH - around)
    assert isinstance(cache.take(None), CachedWalk)
    group["plan"] = nested(MAX_DEPTH - around + 1)
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH} levels"):
        cache.take(None)


@pytest.mark.parametrize("now", [True, False])
def test_whether_a_state_tensor_requires_a_gradient_is_that_of_the_moment(now: bool) -> None:
    run = Run()
    run.step()
    state = state_of(run)
    average = first_state(run)["exp_avg"]
    average.requires_grad_(not now)
    cache = WalkCache(state)
    for _ in range(2):
        cache.take(None)
    average.requires_grad_(now)
    guarded, trained = state.storages()
    anew = walk(state.collect(None), guarded, trained_storages=trained)
    assert cache.take(None).tree_utf8() == anew.tree_utf8()
    assert ('"requires_grad":true' in anew.tree_json) == now
