"""guard(): tensors that the user changes behind fence(); and what becomes of those that were changed without one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

import stillframe
from machine import checkpoint_steps, cli_json, wait_until
from stillframe._state import TrainingState
from stillframe._walk_cache import WalkCache
from training import DEADLINE_SECONDS, Run, no_warnings

pytestmark = pytest.mark.usefixtures("library")


def plan_of(ckpt: stillframe.Checkpointer) -> Any:
    return ckpt.status()["plan"]


def average_of(model: nn.Module) -> nn.Module:
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    return averaged


def test_what_the_user_guards_is_copied_behind_the_call(tmp_path: Path) -> None:
    run = Run()
    run.step()
    average = average_of(run.model)
    state_bytes = sum(one.nbytes for one in average.parameters())
    with no_warnings(), run.checkpointer(tmp_path, state={"average": average}) as ckpt:
        ckpt.snapshot(1).wait_verified(DEADLINE_SECONDS)
        before = plan_of(ckpt)["unguarded_bytes"]
        ckpt.guard(average.parameters())
        run.step()
        expected = [one.detach().clone() for one in average.parameters()]
        ckpt.snapshot(2)
        assert plan_of(ckpt)["unguarded_bytes"] == before - state_bytes
        ckpt.fence()
        with torch.no_grad():
            for one in average.parameters():
                one.mul_(2.0)
        run.step()
        ckpt.snapshot(3).wait_verified(DEADLINE_SECONDS)
    saved = [value for key, value in stillframe.load(f"{tmp_path}@2")["state"]["average"].items() if "0.num" not in key]
    assert all(any(torch.equal(one, other) for other in saved) for one in expected)


def test_guarded_from_the_first_snapshot_on(tmp_path: Path) -> None:
    table = torch.arange(1000.0)
    with stillframe.Checkpointer(tmp_path, state={"table": table}, guard=[table]) as ckpt:
        ckpt.snapshot(1)
        assert plan_of(ckpt)["guarded_bytes"] == table.nbytes


def test_a_tree_of_ones_own_is_guarded_too(tmp_path: Path) -> None:
    table = torch.arange(1000.0)
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.guard(table)
        ckpt.snapshot(1, state=[table, torch.ones(3)])
        assert plan_of(ckpt)["guarded_bytes"] == table.nbytes


def test_a_guarded_tensor_changed_without_a_fence_tears_the_snapshot(tmp_path: Path) -> None:
    table = torch.arange(1000.0)
    with stillframe.Checkpointer(tmp_path, state={"table": table}, guard=[table]) as ckpt:
        torn = ckpt.snapshot(1)
        table.add_(1)
        with pytest.warns(RuntimeWarning, match=r"state\.table"):
            ckpt.fence()
        assert torn.state == "abandoned"


def test_only_tensors_are_guarded(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        with pytest.raises(TypeError, match=r"not a dict; of a module give parameters\(\)"):
            ckpt.guard([{}])  # type: ignore[list-item]


def test_what_was_changed_without_a_fence_is_taken_in_the_call_until_it_is_guarded_again(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path, retention=stillframe.Retention(keep_last=100)) as ckpt:
        weight: Any = run.model[0].weight
        torn = ckpt.snapshot(1)
        guarded = plan_of(ckpt)["guarded_bytes"]
        with torch.no_grad():
            weight.add_(1.0)
        with pytest.warns(RuntimeWarning, match=r"copied in the call, until ckpt\.guard\(\)"):
            ckpt.fence()
        assert [alarm.kind for alarm in torn.alarms] == ["missed_fence"]
        assert "model.0.weight" in torn.alarms[0].text

        expected = weight.detach().clone()
        taken = ckpt.snapshot(2)
        assert plan_of(ckpt)["guarded_bytes"] == guarded - weight.nbytes
        with torch.no_grad(), no_warnings():
            weight.add_(1.0)  # once more without a fence: no harm is done
            ckpt.fence()
        assert taken.wait_verified(DEADLINE_SECONDS) and taken.alarms == []
        assert torch.equal(stillframe.load(f"{tmp_path}@2")["model"]["0.weight"], expected)

        ckpt.guard(weight)
        ckpt.snapshot(3).wait_verified(DEADLINE_SECONDS)
        assert plan_of(ckpt)["guarded_bytes"] == guarded


def test_a_checkpoint_that_was_published_before_it_was_found_torn_is_marked_bad(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(1).wait_verified(DEADLINE_SECONDS)
        torn = ckpt.snapshot(2)
        # Nothing is asked of the package meanwhile: it would look at the counters.
        wait_until(lambda: 2 in checkpoint_steps(tmp_path), "it is in the store")
        with torch.no_grad():
            next(run.model.parameters()).add_(1.0)
        with pytest.warns(RuntimeWarning, match="step 2 is torn"):
            ckpt.fence()
        assert torn.error is not None and not torn.verified
        wait_until(lambda: bool(list(tmp_path.glob("*/bad"))), "it is marked bad")
        marked = [json.loads((path.parent / "manifest.json").read_text())["step"] for path in tmp_path.glob("*/bad")]
        assert marked == [2]
    restored = Run().checkpointer(tmp_path).restore()
    assert restored is not None and restored.step == 1
    shown = {one["step"]: one for one in cli_json("ls", tmp_path)["checkpoints"]}
    assert shown[2] != shown[1]


@pytest.mark.parametrize("event", ["fence", "step", "snapshot", "wait", "status", "guard", "close"])
def test_a_missed_fence_is_found_at_the_next_event(event: str, tmp_path: Path) -> None:
    run = Run()
    run.step()
    ckpt = run.checkpointer(tmp_path)
    torn = ckpt.snapshot(1)
    with torch.no_grad():
        list(run.model.parameters())[-1].add_(1.0)

    def wait() -> None:
        with pytest.raises(stillframe.StillframeError, match="torn"):
            torn.wait_durable(DEADLINE_SECONDS)

    events: Dict[str, Callable[[], object]] = {
        "fence": ckpt.fence,
        "step": run.optimizer.step,
        "snapshot": lambda: ckpt.snapshot(2),
        "wait": wait,
        "status": ckpt.status,
        "guard": lambda: ckpt.guard([]),
        "close": ckpt.close,
    }
    with pytest.warns(RuntimeWarning, match="step 1 is torn"):
        events[event]()
    assert torn.state == "abandoned"
    ckpt.close()


def test_a_tensor_that_was_demoted_and_died_is_forgotten() -> None:
    run = Run()
    run.step()
    state = TrainingState(run.model, run.optimizer, None, False, None)
    moments = run.optimizer.state[next(run.model.parameters())]
    state.demote([moments["exp_avg"]])
    assert len(state.demoted_storages()) == 1
    del moments["exp_avg"]
    assert state.demoted_storages() == frozenset()


def test_a_demotion_is_seen_by_a_walk_that_was_kept() -> None:
    run = Run()
    run.step()
    state = TrainingState(run.model, run.optimizer, None, False, None)
    cache = WalkCache(state)
    cache.take(None)
    guarded = [one[0] for one in cache.take(None).layout() if one[3]]
    state.demote([next(run.model.parameters())])
    cache.forget()
    left = [one[0] for one in cache.take(None).layout() if one[3]]
    assert set(guarded) - set(left) == {"model.0.weight"}


def test_a_fused_optimizer_that_nobody_tracks_is_fenced(tmp_path: Path) -> None:
    table = nn.Parameter(torch.arange(1000.0))
    stranger = torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=1.0)
    fused = torch.optim.SGD([table], lr=1.0, fused=True)
    with stillframe.Checkpointer(tmp_path, state={"table": table}, guard=[table]) as ckpt:
        for step in range(2):
            pending = ckpt.snapshot(step)
            for parameter in (table, stranger.param_groups[0]["params"][0]):
                parameter.grad = torch.ones_like(parameter)
            with no_warnings():
                stranger.step()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fused.step()
            said = [str(one.message) for one in caught]
            assert len(said) == (1 if step == 0 else 0) and all("SGD" in one and "tracked" in one for one in said), said
            pending.wait_verified(DEADLINE_SECONDS)
            assert pending.timings.fence_seconds > 0, "it was not fenced"
            assert torch.equal(stillframe.load(f"{tmp_path}@{step}")["state"]["table"], torch.arange(1000.0) - step)
    before = len(_global_optimizer_pre_hooks)
    ckpt = stillframe.Checkpointer(tmp_path)
    assert len(_global_optimizer_pre_hooks) == before + 1
    ckpt.close()
    assert len(_global_optimizer_pre_hooks) == before


def test_a_moved_step_counter_demotes_its_whole_group(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(1)
        assert plan_of(ckpt)["guarded_bytes"] > 0
        run.optimizer.state[next(run.model.parameters())]["step"].add_(1.0)
        with pytest.warns(RuntimeWarning, match="step 1 is torn"):
            ckpt.fence()
        ckpt.snapshot(2)
        assert plan_of(ckpt)["guarded_bytes"] == 0
