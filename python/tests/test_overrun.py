"""Overrun policies from Python, what a crash would cost, and the cadence that is suggested."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from machine import cli_json, stopped

import stillframe

_TWO_IMAGES = 12 << 20


def _checkpointer(store: Path, **options: Any) -> "tuple[stillframe.Checkpointer, torch.nn.Linear]":
    model = torch.nn.Linear(1000, 700)  # three chunks
    return stillframe.Checkpointer(store, model=model, budget_bytes=_TWO_IMAGES, **options), model


def _daemon(ckpt: stillframe.Checkpointer) -> int:
    return int(ckpt.status()["daemon"]["pid"])


def test_latest_lets_the_older_captured_one_give_way(tmp_path: Path) -> None:
    ckpt, _ = _checkpointer(tmp_path, overrun="latest")
    ckpt.snapshot(0).wait_durable()
    with stopped(_daemon(ckpt)):
        older = ckpt.snapshot(1)
        older.wait_captured()
        newest = ckpt.snapshot(2)
        newest.wait_captured()
        assert older.state == "abandoned"
        assert "gave way to step 2" in str(older.error)
        assert ckpt.status()["snapshots"]["superseded"] == 1
    newest.wait_durable()
    ckpt.close()


def test_skip_is_the_default_and_loses_nothing_captured(tmp_path: Path) -> None:
    ckpt, _ = _checkpointer(tmp_path)
    ckpt.snapshot(0).wait_durable()
    with stopped(_daemon(ckpt)):
        captured = ckpt.snapshot(1)
        captured.wait_captured()
        assert ckpt.snapshot(2).skipped
    captured.wait_durable()
    ckpt.close()


def test_an_unknown_policy_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="skip, wait, latest"):
        stillframe.Checkpointer(tmp_path, overrun="newest")


def test_a_crash_costs_less_once_captured_and_less_still_once_durable(tmp_path: Path) -> None:
    with _checkpointer(tmp_path)[0] as ckpt:
        begun = ckpt.status()["crash_cost"]
        assert begun["trainer_crash_seconds"] == pytest.approx(begun["power_loss_seconds"])
        ticket = ckpt.snapshot(0)
        ticket.wait_durable()
        cost = ticket.crash_cost
        assert 0 < cost.trainer_crash_seconds == pytest.approx(cost.power_loss_seconds)
        assert cost.power_loss_seconds <= ticket.timings.durable_seconds + 60
        assert ckpt.status()["crash_cost"]["text"].startswith("trainer crash: ")


def test_the_command_line_says_what_a_crash_would_cost_from_what_the_daemon_knows(tmp_path: Path) -> None:
    begun = time.monotonic()
    ckpt, _ = _checkpointer(tmp_path, mean_time_between_failures_seconds=3600.0, persist_every_steps=2)

    def seen() -> Any:
        (session,) = cli_json("status", tmp_path)["sessions"]
        return session

    before = seen()
    assert 0 <= before["crash_cost"]["trainer_crash_seconds"] == before["crash_cost"]["power_loss_seconds"]
    assert before["suggested_cadence"] is None
    durable_taken = time.monotonic()
    ckpt.snapshot(0).wait_durable()
    captured_taken = time.monotonic()
    ckpt.snapshot(1).wait_captured()  # in memory only
    after_call = time.monotonic()
    session = seen()
    now = time.monotonic()
    cost = session["crash_cost"]
    assert 0 <= cost["trainer_crash_seconds"] <= now - captured_taken
    assert after_call - captured_taken <= cost["power_loss_seconds"] <= now - durable_taken <= now - begun
    assert cost["text"].startswith("trainer crash: ") and "; power loss: " in cost["text"]
    cadence = session["suggested_cadence"]
    assert cadence["mean_time_between_failures_seconds"] == 3600 and cadence["mean_block_seconds"] > 0
    assert cadence["snapshot_every_seconds"] == pytest.approx(math.sqrt(2 * cadence["mean_block_seconds"] * 3600), rel=0.2)
    ckpt.close()


def test_the_cadence_counts_all_that_python_does(tmp_path: Path) -> None:
    ckpt, _ = _checkpointer(tmp_path, mean_time_between_failures_seconds=86_400.0)
    assert ckpt.status()["suggested_cadence"] is None
    tickets = [ckpt.snapshot(step, wait=True) for step in range(3)]
    ckpt.fence()
    suggested = ckpt.status()["suggested_cadence"]
    block = sum(one.timings.call_seconds + one.timings.fence_seconds for one in tickets) / len(tickets)
    assert suggested["mean_block_seconds"] == pytest.approx(block, rel=0.2)
    assert suggested["snapshot_every_seconds"] == pytest.approx(math.sqrt(2 * block * 86_400), rel=0.2)
    ckpt.close()


def test_a_time_between_failures_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(stillframe.StillframeError, match="mean_time_between_failures_seconds"):
        stillframe.Checkpointer(tmp_path, mean_time_between_failures_seconds=-1.0)
