"""Alarms: a snapshot says when the training does not move, when parts of it do not fit, and when the loss is no number."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from torch import nn

import stillframe
from machine import cli_json, wait_until
from training import DEADLINE_SECONDS, HERE, Run, no_warnings

pytestmark = pytest.mark.usefixtures("library")


def manifests(store: Path) -> Dict[int, Any]:
    """By step."""
    found = [json.loads(path.read_text()) for path in store.glob("*/manifest.json")]
    return {manifest["step"]: manifest for manifest in found}


def scrub_status(store: Path) -> Any:
    return cli_json("status", store)["scrub"][str(store)]


def kinds(ticket: stillframe.Ticket) -> List[str]:
    ticket.wait_durable(DEADLINE_SECONDS)
    wait_until(lambda: ticket.stored_bytes > 0, "the daemon's words on it")
    return [alarm.kind for alarm in ticket.alarms]


def test_a_healthy_loop_raises_no_alarm(tmp_path: Path) -> None:
    run = Run()
    keep = stillframe.Retention(keep_last=100)
    with no_warnings():
        with run.checkpointer(tmp_path, retention=keep) as ckpt:
            tickets = []
            for step in range(8):
                loss = run.step()
                tickets.append(ckpt.snapshot(step, metrics={"loss": loss}, wait=True))
            assert [kinds(ticket) for ticket in tickets] == [[]] * 8
    assert [manifest["alarms"] for _, manifest in sorted(manifests(tmp_path).items())] == [[]] * 8


def test_a_loop_that_never_steps_says_so_on_ticket_manifest_and_in_one_warning(tmp_path: Path) -> None:
    run = Run()
    with pytest.warns(RuntimeWarning) as caught:
        with run.checkpointer(tmp_path, retention=stillframe.Retention(keep_last=100)) as ckpt:
            tickets = [ckpt.snapshot(step, wait=True) for step in range(4)]
            found = [kinds(ticket) for ticket in tickets]
    assert found == [[], ["stale_state"], ["stale_state"], ["stale_state"]]
    alarm = tickets[1].alarms[0]
    assert "all 6 trainable tensors" in alarm.text and "step 0 and step 1" in alarm.text, alarm.text
    assert manifests(tmp_path)[1]["alarms"] == [{"kind": alarm.kind, "text": alarm.text}]
    texts = [str(one.message) for one in caught if "stale_state" in str(one.message)]
    assert len(texts) == 1 and texts[0].startswith("stillframe: alarm stale_state: ")


def test_once_it_has_cleared_it_is_warned_of_again(tmp_path: Path) -> None:
    run = Run()
    with pytest.warns(RuntimeWarning) as caught:
        with run.checkpointer(tmp_path) as ckpt:
            for step in range(6):
                if step in (0, 3):
                    run.step()
                ckpt.snapshot(step, wait=True).wait_durable(DEADLINE_SECONDS)
    assert len([one for one in caught if "stale_state" in str(one.message)]) == 2


def test_a_loss_that_is_no_number_is_an_alarm(tmp_path: Path) -> None:
    run = Run()
    found = []
    with pytest.warns(RuntimeWarning, match="non_finite_loss"):
        with run.checkpointer(tmp_path) as ckpt:
            for step, loss in enumerate((0.5, math.nan, torch.tensor(math.inf), 0.25)):
                run.step()
                found.append(kinds(ckpt.snapshot(step, metrics={"loss": loss}, wait=True)))
    assert found == [[], ["non_finite_loss"], ["non_finite_loss"], []]


def test_step_counters_that_disagree_are_an_alarm_that_names_them(tmp_path: Path) -> None:
    run = Run()
    with pytest.warns(RuntimeWarning, match="step_counters_disagree"):
        with run.checkpointer(tmp_path) as ckpt:
            run.step()
            first = ckpt.snapshot(0, wait=True)
            assert kinds(first) == []
            ckpt.fence()
            run.optimizer.state[run.optimizer.param_groups[0]["params"][2]]["step"] -= 1
            run.step()
            ticket = ckpt.snapshot(1, wait=True)
            assert kinds(ticket) == ["step_counters_disagree"]
    text = ticket.alarms[0].text
    assert "1 at 1 ('optimizer.state[2].step')" in text and "5 at 2" in text, text


def test_counters_kept_as_python_numbers_are_compared_too(tmp_path: Path) -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for state in (self.state[parameter] for group in self.param_groups for parameter in group["params"]):
                state["step"] = state.get("step", 0) + 1
            return super().step(closure)

    model = nn.Linear(4, 4)
    optimizer = Counting(model.parameters(), lr=0.1)
    with pytest.warns(RuntimeWarning, match="step_counters_disagree"):
        with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
            for step in range(2):
                model(torch.ones(4)).sum().backward()
                optimizer.step()
                if step == 1:
                    optimizer.state[model.bias]["step"] = 7
                ticket = ckpt.snapshot(step, wait=True)
                assert kinds(ticket) == ([] if step == 0 else ["step_counters_disagree"])


def test_a_part_that_stops_learning_is_named_and_one_that_is_frozen_is_not(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    groups = [{"params": list(layer.parameters())} for layer in model if isinstance(layer, nn.Linear)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    found = []
    with pytest.warns(RuntimeWarning, match="stale_tensors"):
        with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
            for step in range(6):
                if step == 2:
                    for parameter in model[4].parameters():
                        parameter.requires_grad_(False)
                if step == 4:
                    optimizer.param_groups[0]["lr"] = 0.0
                optimizer.zero_grad()
                model(torch.randn(16, 8)).square().mean().backward()
                optimizer.step()
                ticket = ckpt.snapshot(step, wait=True)
                found.append(kinds(ticket))
    assert found == [[], [], [], [], ["stale_tensors"], ["stale_tensors"]]
    text = ticket.alarms[0].text
    assert text.startswith("2 of 4 ") and "'model.0.weight'" in text and "model.4" not in text, text


def test_parameters_in_a_tree_of_ones_own_are_watched(tmp_path: Path) -> None:
    weight, frozen = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5), requires_grad=False)
    with pytest.warns(RuntimeWarning, match="stale_state"):
        with stillframe.Checkpointer(tmp_path) as ckpt:
            found = [kinds(ckpt.snapshot(step, state=[weight, frozen], wait=True)) for step in range(2)]
    assert found == [[], ["stale_state"]]


def test_state_without_an_optimizer_and_without_parameters_is_not_judged(tmp_path: Path) -> None:
    with no_warnings():
        with stillframe.Checkpointer(tmp_path) as ckpt:
            tree = {"table": torch.arange(10)}
            assert [kinds(ckpt.snapshot(step, state=tree, wait=True)) for step in range(3)] == [[], [], []]


def test_the_example_raises_none(tmp_path: Path) -> None:
    example = HERE.parent.parent / "examples" / "train_gpt.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(example), "--store", str(tmp_path), "--steps", "4", "--snapshot-every", "1"]
    done = subprocess.run(
        [*command, "--keep-last", "100"], env=environment, capture_output=True, text=True, timeout=5 * DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert "alarm" not in done.stdout + done.stderr, done.stderr
    found = manifests(tmp_path)
    assert len(found) >= 2 and all(manifest["alarms"] == [] for manifest in found.values())


def test_a_disk_without_room_is_a_no_space_error_on_the_ticket(tmp_path: Path) -> None:
    run = Run()
    with pytest.warns(RuntimeWarning, match="no room"):
        ckpt = run.checkpointer(tmp_path, retention=stillframe.Retention(min_free_bytes=1 << 60))
        ticket = ckpt.snapshot(1)
        with pytest.raises(stillframe.NoSpaceError, match="min_free_bytes"):
            ticket.wait_durable(DEADLINE_SECONDS)
        assert isinstance(ticket.error, stillframe.NoSpaceError) and ticket.alarms == []
        run.step()
        with pytest.raises(stillframe.NoSpaceError):
            ckpt.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_daemon_re_reads_what_nobody_verified(tmp_path: Path) -> None:
    run = Run()
    with run.checkpointer(tmp_path) as ckpt:
        for step in range(3):
            run.step()
            ticket = ckpt.snapshot(step, wait=True)
            ckpt.fence()
            ticket.wait_verified(DEADLINE_SECONDS)
    confirmed = [path for path in tmp_path.glob("*/manifest.json") if json.loads(path.read_text())["confirmed"]]
    assert confirmed, "the fence comes long before the end of the commit"
    marks = [path.parent / "verified" for path in confirmed]
    for mark in marks:
        mark.unlink()
    with run.checkpointer(tmp_path) as ckpt:
        assert ckpt.status()["daemon"] is not None
        wait_until(lambda: all(mark.is_file() for mark in marks), "every checkpoint was verified again")
        wait_until(lambda: scrub_status(tmp_path)["checked"] >= len(marks), "the status counts them")
        scrub = scrub_status(tmp_path)
    assert scrub["bad"] == 0 and scrub["last"].endswith(": verified"), scrub
    assert all("scrub" in mark.read_text() for mark in marks)
