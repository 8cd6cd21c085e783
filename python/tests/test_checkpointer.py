"""The hook in a training loop: what a ticket promises, what a fence catches, what is refused."""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import stillframe
from support import same
from training import DEADLINE_SECONDS, Child, Run, no_warnings, save_steps

pytestmark = pytest.mark.usefixtures("library")


def test_a_snapshot_becomes_captured_durable_and_verified(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path / "store") as ckpt:
        ticket = ckpt.snapshot(5, metrics={"loss": torch.tensor(0.5), "nan": math.nan})
        assert ticket.wait_captured(DEADLINE_SECONDS) and ticket.captured
        assert ticket.wait_durable(DEADLINE_SECONDS) and ticket.durable and ticket.name.startswith("000001-step000005-")
        assert ticket.wait_verified(DEADLINE_SECONDS) and ticket.verified and ticket.state == "verified"
    assert ticket.error is None and ticket.step == 5 and ticket.verified
    assert ticket.raw_bytes > 0 and ticket.stored_bytes > 0
    times = ticket.timings
    assert 0 < times.captured_seconds <= times.durable_seconds <= times.verified_seconds


def test_a_snapshot_holds_the_values_of_the_call_not_of_the_next_step(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        expected = {name: value.clone() for name, value in run.model.state_dict().items()}
        ckpt.snapshot(1)
        run.step()
    assert same(dict(stillframe.load(tmp_path)["model"]), expected)


def test_any_tree_is_stored_and_loaded(tmp_path: Path) -> None:
    tree = {"a": [1, (2.0, None)], "w": torch.arange(10)[::3], 3: {"big": 2**80}, "raw": bytes(9000)}
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(1, state=tree)
    assert same(stillframe.load(f"{tmp_path}@latest"), tree)
    assert same(stillframe.load(f"{tmp_path}@1"), tree)


def test_retention_keeps_the_newest(tmp_path: Path) -> None:
    save_steps(tmp_path, 5, retention=stillframe.Retention(keep_last=2))
    names = sorted(path.name for path in tmp_path.iterdir() if (path / "manifest.json").is_file())
    assert [name[7:17] for name in names] == ["step000003", "step000004"]


def test_a_leaf_that_cannot_be_stored_is_refused_at_construction(tmp_path: Path) -> None:
    run = Run()
    run.step()
    run.optimizer.state[run.optimizer.param_groups[0]["params"][3]]["hook"] = print
    with pytest.raises(TypeError, match=r"^optimizer\.state\[3\]\['hook'\]: "):
        run.checkpointer(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_wrong_arguments_raise_instead_of_failing_a_ticket(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        with pytest.raises(TypeError, match="step"):
            ckpt.snapshot("1")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"extra\['f'\]"):
            ckpt.snapshot(1, extra={"f": print})
        with pytest.raises(TypeError, match=r"metrics\['loss'\] is a tensor of shape \(2,\)"):
            ckpt.snapshot(1, metrics={"loss": torch.ones(2)})
        with pytest.raises(TypeError, match="metric is a number"):
            ckpt.snapshot(1, metrics={"loss": "low"})
    with pytest.raises(ValueError, match="keep_last"):
        stillframe.Retention(keep_last=0)


def test_a_parameter_changed_without_a_fence_tears_the_snapshot(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        good = ckpt.snapshot(1)
        good.wait_verified(DEADLINE_SECONDS)
        torn = ckpt.snapshot(2)
        with torch.no_grad():
            run.model[0].weight.add_(1.0)
        with pytest.warns(RuntimeWarning, match=r"step 2 is torn .*model\.0\.weight.*ckpt\.fence\(\)"):
            run.step()
        assert torn.error is not None and "model.0.weight" in str(torn.error)
        assert not torn.verified
    restored = Run().checkpointer(tmp_path).restore()
    assert restored is not None and restored.step == 1


def test_a_parameter_changed_behind_a_fence_is_fine(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with no_warnings():
        with run.checkpointer(tmp_path) as ckpt:
            before = run.model[0].weight.detach().clone()
            ticket = ckpt.snapshot(1)
            ckpt.fence()
            with torch.no_grad():
                run.model[0].weight.add_(1.0)
    assert ticket.verified and torch.equal(stillframe.load(tmp_path)["model"]["0.weight"], before)


def test_without_an_optimizer_nothing_needs_a_fence(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    with stillframe.Checkpointer(tmp_path, model=model) as ckpt:
        ticket = ckpt.snapshot(1)
        with torch.no_grad():
            model.weight.zero_()
    assert ticket.verified and torch.equal(stillframe.load(tmp_path)["model"]["weight"], before)


def test_optimizer_state_that_appears_later_is_in_the_next_snapshot(tmp_path: Path) -> None:
    run = Run()
    with run.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0).wait_durable(DEADLINE_SECONDS)
        run.step()
        ckpt.snapshot(1).wait_durable(DEADLINE_SECONDS)
    assert stillframe.load(f"{tmp_path}@0")["optimizer"]["state"] == {}
    assert len(stillframe.load(f"{tmp_path}@1")["optimizer"]["state"]) == 6


def test_a_second_writer_of_the_run_is_refused_by_name(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path, run="gpt"):
        program = (
            "import sys, stillframe\n"
            "try: stillframe.Checkpointer(sys.argv[1], run='gpt')\n"
            "except stillframe.BusyError as error: print('busy', error, flush=True)\n"
        )
        with Child(program, str(tmp_path)) as second:
            message = second.hear("busy")
        assert "gpt" in message and str(os.getpid()) in message
        with stillframe.Checkpointer(tmp_path, run="other"):
            pass


def test_a_forked_child_does_not_disturb(tmp_path: Path) -> None:
    run = Run()
    run.step()
    with run.checkpointer(tmp_path) as ckpt:
        ticket = ckpt.snapshot(1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                refused = ckpt.snapshot(2)
                ckpt.fence()
                ckpt.close()
                del ckpt
                gc.collect()
                status = 0 if refused.error is not None and not refused.durable else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ticket.wait_verified(DEADLINE_SECONDS)
        run.step()
        assert ckpt.snapshot(2).wait_verified(DEADLINE_SECONDS)


def test_a_closed_checkpointer_says_so_and_closes_twice(tmp_path: Path) -> None:
    run = Run()
    ckpt = run.checkpointer(tmp_path)
    ckpt.close()
    ckpt.close()
    run.step()
    with pytest.raises(stillframe.UnavailableError, match="closed"):
        ckpt.snapshot(1)


def test_status_tells_of_daemon_and_plan(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(3, state=[torch.ones(100)]).wait_durable(DEADLINE_SECONDS)
        status: Any = ckpt.status()
        assert status["daemon"] is not None and status["last_durable_step"] == 3
        assert status["plan"]["unguarded_bytes"] == 400


def test_wait_has_a_deadline(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ticket = ckpt.snapshot(1, state=[torch.randn(4_000_000)])
        try:
            ticket.wait_verified(0.0)
        except TimeoutError as error:
            assert isinstance(error, stillframe.DeadlineError) and "step 1" in str(error)
        assert ticket.wait_verified(DEADLINE_SECONDS)
