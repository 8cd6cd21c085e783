"""Readers beside a training that goes on: an evaluation that loads @latest while retention removes what is older."""

from __future__ import annotations

import fcntl
import threading
import time
import warnings
from pathlib import Path

import pytest

import stillframe
from machine import cli_json
from training import DEADLINE_SECONDS, Child, save_steps

pytestmark = pytest.mark.usefixtures("library")

TRAINING = """
import sys, torch, stillframe
with stillframe.Checkpointer(sys.argv[1], retention=stillframe.Retention(keep_last=1)) as ckpt:
    for step in range(100000):
        ckpt.snapshot(step, state={"step": step, "w": torch.full((3000,), step)}, wait=True)
        if step == 1:
            ticket = ckpt.snapshot(2, state={"step": 2, "w": torch.full((3000,), 2)}, wait=True)
            ticket.wait_durable(60)
            print("running", flush=True)
"""


def test_the_newest_is_read_while_retention_removes_the_ones_before(tmp_path: Path) -> None:
    with Child(TRAINING, str(tmp_path)) as child:
        child.hear("running")
        seen = {-1}
        end = time.monotonic() + DEADLINE_SECONDS
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            while len(seen) < 60:
                tree = stillframe.load(tmp_path)
                assert bool((tree["w"] == tree["step"]).all())
                seen.add(tree["step"])
                assert time.monotonic() < end, "the training does not move"
        for _ in range(20):
            listed = cli_json("ls", tmp_path)["checkpoints"]
            assert all(one["problem"] is None for one in listed), listed
            assert cli_json("verify", tmp_path, "--all")["ok"] is True
        child.kill()
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt._open_client().settle(60)
    assert stillframe.load(tmp_path)["step"] >= max(seen)


def test_a_load_that_meets_a_removal_takes_what_came_after(tmp_path: Path) -> None:
    """Between listing and opening, the newest made room for a newer one: neither an error nor a warning."""
    store, aside = tmp_path / "store", tmp_path / "aside"
    save_steps(store, 2)
    older, newer = sorted(path for path in store.iterdir() if path.is_dir())
    newer.rename(aside)
    with open(older / "manifest.json") as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)  # as retention does before it renames

        def retention_goes_on() -> None:
            aside.rename(newer)
            older.rename(older.with_name(f"{older.name}.removing"))

        timer = threading.Timer(0.1, retention_goes_on)
        timer.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert stillframe.load(store)["extra"] == {"epoch": 1}
        finally:
            timer.join()
