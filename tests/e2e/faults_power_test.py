"""The power fails: trainer and daemon are killed, and the file system forgets what was not synced."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from faults_rig import DOUBLE_BUDGET, PATIENCE_SECONDS, FaultFs, Rig, fault_fs, rig

LOSSES = int(os.environ.get("STILLFRAME_POWER_LOSSES", "25"))  # per mode
MOST_REQUESTS = 120  # of some checkpoints


def power_fails(fs: FaultFs, run: Rig, seed: str) -> None:
    run.kill_both()
    fs.say(f"forget {seed}".strip())
    run.trainer.wait(PATIENCE_SECONDS)
    daemon = run.living_daemon()
    if daemon is not None:
        daemon.wait(PATIENCE_SECONDS)
    run.look()


@pytest.mark.parametrize("budget", [DOUBLE_BUDGET, 9 << 20, (6 << 20) + (256 << 10)], ids=["double", "single", "ring"])
def test_after_a_power_loss_at_any_request_the_last_durable_step_is_there(tmp_path: Path, budget: int) -> None:
    dice = random.Random(budget)
    with fault_fs(tmp_path / "fs") as fs, rig(tmp_path, tmp_path / "fs" / "store", budget_bytes=budget,
                                              config="[retention]\nkeep_last = 2") as run:  # fmt: skip
        run.start()
        for loss in range(LOSSES):
            if dice.random() < 0.5:
                run.until_new("trainer.durable")
            requests, seed = dice.randrange(MOST_REQUESTS), dice.choice(["", str(dice.randrange(1 << 30))])
            fs.say(f"freeze {requests}")
            fs.say("held")
            power_fails(fs, run, seed)
            acknowledged = run.durable
            resumed = run.start()
            assert resumed >= acknowledged, (
                f"loss {loss}, {requests} requests after, seed '{seed}': resumed at {resumed}, though step "
                f"{acknowledged} was acknowledged as durable"
            )
        run.finish()


def test_a_directory_that_was_made_for_the_store_just_before_is_there_after_a_power_loss(tmp_path: Path) -> None:
    with fault_fs(tmp_path / "fs") as fs:
        store = tmp_path / "fs" / "runs" / "gpt"
        store.mkdir(parents=True)  # as by mkdir -p in a job's script: nobody has synced it
        with rig(tmp_path, store) as run:
            run.start()
            run.until("a durable checkpoint", lambda: run.durable >= 0)
            power_fails(fs, run, "")
            acknowledged = run.durable
            assert run.start() >= acknowledged
