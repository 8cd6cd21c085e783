"""Limits of the machine under a real trainer and a real daemon: a full disk, one that became read-only, files too large."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from pathlib import Path
from typing import List

import pytest

from faults_rig import Happening, Rig, rig, small_tmpfs


WITHOUT_RESERVE = "[retention]\nkeep_last = 2\nmin_free_bytes = 0"


def partials(store: Path) -> List[str]:
    return [path.name for path in store.iterdir() if path.name.endswith((".partial", ".removing"))]


def wait_for_durable_again(run: Rig) -> None:
    run.look()
    durable, captured = run.durable, run.phases.acknowledged["captured"]
    run.until("durable checkpoints again", lambda: run.durable > max(durable, captured))


def short_of_room(run: Rig) -> List[Happening]:
    """Found out before the first byte, or, when it filled up just then, by a write (faults_fuse_test.py has it at will)."""
    failed = [one for one in run.heard if one.name == "trainer.failed"]
    return [one for one in failed if "ENOSPC" in one.words or "no room" in one.words]


def filled(ballast: Path) -> bool:
    """To the last block; what is freed meanwhile is filled by the next call."""
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return True


def test_a_full_tmpfs_leaves_the_old_whole_frees_what_it_wrote_and_says_so(tmp_path: Path) -> None:
    with small_tmpfs(tmp_path / "fs", 24) as fs, rig(tmp_path, fs / "store", config=WITHOUT_RESERVE) as run:
        run.start()
        wait_for_durable_again(run)
        ballast = fs / "ballast"
        run.until("a write that finds no room", lambda: filled(ballast) and bool(short_of_room(run)))
        failed = short_of_room(run)[-1]
        assert str(run.store) in failed.words and "whole" in failed.words, failed.words
        run.verify_all()
        ballast.unlink()
        wait_for_durable_again(run)
        run.finish()
        assert not partials(run.store)


def test_a_disk_that_would_fall_below_its_reserve_is_not_written_to_and_the_figures_are_said(tmp_path: Path) -> None:
    config = "[retention]\nkeep_last = 2\nmin_free_bytes = 20000000"
    with small_tmpfs(tmp_path / "fs", 40) as fs, rig(tmp_path, fs / "store", config=config) as run:
        run.start()
        wait_for_durable_again(run)
        ballast = fs / "ballast"
        ballast.write_bytes(bytes(15 << 20))
        failed = run.until_new("trainer.failed")
        assert "no room" in failed.words and "min_free_bytes" in failed.words and str(run.store) in failed.words
        run.verify_all()
        ballast.unlink()
        wait_for_durable_again(run)
        run.finish()
        assert not partials(run.store)


def test_on_a_read_only_file_system_a_trainer_says_so_and_everything_can_be_read(tmp_path: Path) -> None:
    with small_tmpfs(tmp_path / "fs", 64) as fs, rig(tmp_path, fs / "store", config=WITHOUT_RESERVE) as run:
        run.start()
        wait_for_durable_again(run)
        run.finish()
        daemon = run.daemon()
        daemon.strike(15)
        daemon.wait(60)
        remount(fs, "ro")
        run.trainer.start()
        assert run.trainer.wait(60) == 1
        assert "EROFS" in run.trainer.last_words() and str(run.store) in run.trainer.last_words()
        run.verify_all()
        remount(fs, "rw")
        assert run.start() >= run.durable
        run.finish()


@pytest.mark.skipif(os.geteuid() != 0, reason="lowering a limit of another process needs root")
def test_a_limit_below_the_size_of_its_own_log_ends_no_daemon(tmp_path: Path) -> None:
    with rig(tmp_path, tmp_path / "store") as run:
        run.start()
        wait_for_durable_again(run)
        daemon = run.daemon()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (100, 100))
        run.trainer.strike()
        run.trainer.wait(60)
        run.start()
        assert run.status()["daemon"]["pid"] == daemon.pid, "the daemon was killed by SIGXFSZ"


@pytest.mark.skipif(os.geteuid() != 0, reason="raising a limit again needs root")
def test_a_limit_on_the_size_of_files_is_said_and_ends_no_daemon(tmp_path: Path) -> None:
    with rig(tmp_path, tmp_path / "store") as run:
        run.start()
        wait_for_durable_again(run)
        daemon = run.daemon()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        failed = run.until_new("trainer.failed")
        assert "EFBIG" in failed.words and "ulimit -f" in failed.words, failed.words
        run.verify_all()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_for_durable_again(run)
        assert run.daemon().pid == daemon.pid, "the daemon was killed by SIGXFSZ"
        run.finish()


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
