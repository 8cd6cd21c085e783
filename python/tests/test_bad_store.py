"""Stores and configurations that are missing, read-only, full or wrong: clear words, and nothing older is lost."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch

import stillframe
from machine import checkpoint_steps, cli, cli_json, daemon_pid, program, remount, tmpfs, wait_until
from training import DEADLINE_SECONDS, BigRun, Child, Run, no_warnings, save_steps

pytestmark = pytest.mark.usefixtures("library")

# The disks here are smaller than the reserve that a run keeps free of its own accord.
SMALL_DISK = stillframe.Retention(keep_last=9, min_free_bytes=0)

WRITER = """
import sys, torch, stillframe
store, run = sys.argv[1:]
with stillframe.Checkpointer(store, run=run, retention=stillframe.Retention(keep_last=4)) as ckpt:
    print("open", flush=True)
    sys.stdin.readline()
    for step in range(15):
        ckpt.snapshot(step, state={"run": run, "step": step, "w": torch.full((3000,), step)}, wait=True).wait_durable(60)
print("done", flush=True)
"""


def test_a_missing_store_is_made_with_its_parents(tmp_path: Path) -> None:
    store = tmp_path / "a" / "b" / "store"
    save_steps(store, 1)
    assert checkpoint_steps(store) == {0}


def test_a_read_only_store_is_refused_at_construction_and_can_still_be_read(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 8) as disk:
        save_steps(disk / "store", 2, retention=SMALL_DISK)
        remount(disk, "ro")
        try:
            for store in (disk / "store", disk / "new"):
                with pytest.raises(stillframe.StorageError, match=f"{disk}.*[Rr]ead-only"):
                    stillframe.Checkpointer(store)
            assert stillframe.load(disk / "store")["extra"] == {"epoch": 1}
            assert cli_json("verify", disk / "store", "--all")["ok"] is True
        finally:
            remount(disk, "rw")


def test_a_full_disk_fails_the_snapshot_and_nothing_else(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 8) as disk:
        store, run = disk / "store", Run()
        noise = torch.randint(0, 256, (1 << 21,), dtype=torch.uint8)
        with run.checkpointer(store, state={"noise": noise}, retention=SMALL_DISK) as ckpt:
            run.step()
            ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
            with open(disk / "filler", "wb") as filler:
                filler.write(bytes(5 << 20))
            run.step()
            # In the call, when the daemon is that quick, or at the next one.
            with pytest.warns(RuntimeWarning, match="no room"):
                failed = ckpt.snapshot(1)
                with pytest.raises(stillframe.NoSpaceError) as caught:
                    failed.wait_durable(DEADLINE_SECONDS)
                run.step()
            text = str(caught.value)
            assert "no room" in text and str(store) in text and "Nothing was written" in text
            assert not failed.durable and failed.state == "failed"
            assert cli_json("verify", store, "--all")["ok"] is True and checkpoint_steps(store) == {0}
            assert not [path.name for path in store.iterdir() if path.name.endswith(".partial")]

            (disk / "filler").unlink()
            assert ckpt.snapshot(2).wait_verified(DEADLINE_SECONDS)
            status = ckpt.status()
            assert status["consecutive_failures"] == 0 and status["last_durable_step"] == 2
        assert checkpoint_steps(store) == {0, 2}


def test_closing_on_a_full_disk_says_that_the_last_snapshot_is_lost(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 4) as disk:
        ckpt = stillframe.Checkpointer(disk / "store", retention=SMALL_DISK)
        with pytest.warns(RuntimeWarning, match="no room"):  # at once or at the end, as the daemon is quick
            ckpt.snapshot(1, state=[torch.randint(0, 256, (6 << 20,), dtype=torch.uint8)])
            with pytest.raises(stillframe.NoSpaceError, match="no room"):
                ckpt.close()


def test_a_ring_on_a_full_disk_says_why_at_the_fence_and_at_close(tmp_path: Path) -> None:
    """The failure may arrive in the middle of the copy: with words, whoever of daemon and copier is first."""
    run = BigRun(32)
    with tmpfs(tmp_path / "disk", 16) as disk:
        ckpt = run.checkpointer(disk / "store", budget_bytes=8 << 20, retention=SMALL_DISK)
        for step in range(3):
            with pytest.warns(RuntimeWarning) as caught:
                ticket = ckpt.snapshot(step, wait=True)
                run.step()
                wait_until(lambda: "no room" in str(ckpt.status()["last_error"]), "the daemon's reason")
                ckpt.fence()  # warnings are read here
            assert any("no room" in str(item.message) for item in caught), [str(item.message) for item in caught]
            assert ticket.error is not None and not ticket.durable
        with pytest.raises(stillframe.NoSpaceError, match="no room"):
            ckpt.close()
        assert checkpoint_steps(disk / "store") == set()


def test_a_store_removed_in_mid_run_fails_snapshots_and_not_the_training(tmp_path: Path) -> None:
    run, store = Run(), tmp_path / "store"
    ckpt = run.checkpointer(store)
    run.step()
    ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)
    shutil.rmtree(store)
    run.step()
    with pytest.warns(RuntimeWarning, match="No such file"):
        ticket = ckpt.snapshot(1)
        with pytest.raises(stillframe.StillframeError, match=f"{store}.*No such file or directory"):
            ticket.wait_durable(DEADLINE_SECONDS)
        run.step()
    with pytest.raises(stillframe.StillframeError, match="No such file"):
        ckpt.close()


def test_a_relative_store_stays_the_same_when_the_training_changes_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_steps(Path("store"), 2)
    (tmp_path / "elsewhere").mkdir()
    with Run().checkpointer(Path("store")) as ckpt:
        monkeypatch.chdir(tmp_path / "elsewhere")
        restored = ckpt.restore()
        assert restored is not None and restored.step == 1
        ckpt.snapshot(2)
    assert checkpoint_steps(tmp_path / "store") == {0, 1, 2}


@pytest.mark.parametrize("name", ["a:b", "a@7", "a:b@latest", "with space", "snow \u2603"])
def test_any_name_of_a_store_is_restored_from(tmp_path: Path, name: str) -> None:
    save_steps(tmp_path / name, 1)
    with Run().checkpointer(tmp_path / name) as ckpt:
        restored = ckpt.restore()
    assert restored is not None and restored.step == 0
    assert stillframe.load(f"{tmp_path}/{name}/")["extra"] == {"epoch": 0}
    assert stillframe.load(f"{tmp_path}/{name}/@0")["extra"] == {"epoch": 0}


@pytest.mark.parametrize("text, line, expected", [
    ("[daemon]\n\n[arena]\nbudget_byte = 5\n", 4, "arena.budget_byte: expected a known key"),
    ("[daemon]\nmax_clients = 'many'\n", 2, "daemon.max_clients: expected an integer"),
    ("[persist]\nlevel = 'zip'\n", 2, "persist.level: expected"),
    ("[retention]\nkeep_last = 0\n", 2, "retention.keep_last: expected"),
    ("[log\n", 1, "expected"),
])  # fmt: skip
def test_a_wrong_configuration_is_refused_by_file_line_and_key(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    config = tmp_path / "stillframed.toml"
    config.write_text(text)
    begin = time.monotonic()
    with pytest.raises(stillframe.UnavailableError) as caught:
        stillframe.Checkpointer(tmp_path / "store", daemon_config=str(config))
    text = str(caught.value)
    assert f"{config}:{line}: " in text and expected in text and text == text.strip()
    assert time.monotonic() - begin < 10


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(stillframe.UnavailableError, match="absent.toml"):
        stillframe.Checkpointer(tmp_path / "store", daemon_config=str(tmp_path / "absent.toml"))


def test_a_configuration_is_obeyed(tmp_path: Path) -> None:
    config = tmp_path / "stillframed.toml"
    config.write_text(f"[arena]\nbudget_bytes = {16 << 20}\n[persist]\nlevel = 'raw'\n")
    with stillframe.Checkpointer(tmp_path / "store", daemon_config=str(config)) as ckpt:
        ticket = ckpt.snapshot(1, state=[torch.zeros(1 << 18)])
        assert ticket.wait_durable(DEADLINE_SECONDS) and ticket.stored_bytes >= 1 << 20
        assert ckpt.status()["budget_bytes"] == 16 << 20


def test_a_second_daemon_on_the_socket_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        daemon = ckpt.status()["daemon"]
        command = [program("stillframed"), "--daemon-socket", daemon["socket"], "--arena-budget-bytes", str(1 << 26)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
        assert second.returncode == 5, second.stderr
        assert daemon["socket"] in second.stderr and str(daemon["pid"]) in second.stderr
        assert ckpt.snapshot(1, state=[1]).wait_verified(DEADLINE_SECONDS) and daemon_pid(ckpt) == daemon["pid"]


def test_two_processes_write_two_runs_of_one_store_at_once(tmp_path: Path) -> None:
    with Child(WRITER, str(tmp_path), "red") as red, Child(WRITER, str(tmp_path), "blue") as blue:
        for child in (red, blue):
            child.hear("open")
        for child in (red, blue):
            child.say("go")
        for child in (red, blue):
            child.hear("done")
            assert child.end() == 0
    for run in ("red", "blue"):
        assert checkpoint_steps(tmp_path, run) == {11, 12, 13, 14}
        tree = stillframe.load(f"{tmp_path}:{run}@latest")
        assert tree["run"] == run and tree["step"] == 14 and bool((tree["w"] == 14).all())
        assert stillframe.load(f"{tmp_path}:{run}@12")["step"] == 12
    everything = cli_json("ls", tmp_path)["checkpoints"]
    sequences = [one["sequence"] for one in everything]
    assert len(set(sequences)) == len(sequences) == 8 and sequences == sorted(sequences, reverse=True)
    assert cli_json("verify", tmp_path, "--all")["ok"] is True


def test_two_stores_in_one_process_do_not_mix(tmp_path: Path) -> None:
    one, two = Run(seed=1), Run(seed=2)
    with one.checkpointer(tmp_path / "one") as first, two.checkpointer(tmp_path / "two") as second:
        assert daemon_pid(first) != daemon_pid(second)
        for step in range(4):
            one.step()
            first.snapshot(step, extra="one", wait=True)
            two.step()
            second.snapshot(10 + step, extra="two", wait=True)
    assert checkpoint_steps(tmp_path / "one") == {1, 2, 3} and checkpoint_steps(tmp_path / "two") == {11, 12, 13}
    for name, run in (("one", one), ("two", two)):
        tree = stillframe.load(tmp_path / name)
        assert tree["extra"] == name and torch.equal(tree["model"]["0.weight"], run.model[0].weight)


def test_a_run_is_closed_and_opened_again_in_one_process(tmp_path: Path) -> None:
    run = Run()
    with no_warnings():
        for turn in range(6):
            with run.checkpointer(tmp_path) as ckpt:
                resumed = ckpt.restore()
                assert (resumed.step if resumed else None) == (turn - 1 if turn else None)
                run.step()
                ckpt.snapshot(turn)
    assert checkpoint_steps(tmp_path) == {3, 4, 5}


def test_the_command_line_reads_what_python_wrote(tmp_path: Path) -> None:
    save_steps(tmp_path / "store", 3)
    (newest,) = cli_json("verify", f"{tmp_path}/store@1")["checkpoints"]
    assert newest["ok"] is True
    shown = cli_json("show", f"{tmp_path}/store@1", "--tensors")
    assert shown["step"] == 1 and shown["metrics"] == {"loss": 0.5}
    assert "model.0.weight" in cli("show", f"{tmp_path}/store@1", "--tensors")
    document = cli_json("restore", f"{tmp_path}/store@1", tmp_path / "out")
    assert document["step"] == 1 and (tmp_path / "out" / "rank-00000.safetensors").is_file()
    cli("show", f"{tmp_path}/store@77", code=3)
    with pytest.raises(stillframe.NotFoundError, match="77"):
        stillframe.load(f"{tmp_path}/store@77")
