"""stillframe prune: retention by hand, and what it never does."""

import contextlib
import fcntl
import os

import pytest

from cli_test import flip_byte, make_store, stillframe, stillframe_json
from faults_rig import small_tmpfs

KEEP_FLAGS = ["--keep-last", "--keep-best", "--keep-every-steps", "--keep-every-seconds", "--keep-for-seconds", "--keep-steps"]


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "gpt"
    names = make_store(path, "--count", 6, "--elements", 1000, "--verified", "--loss", "0.9,0.1,0.5,nan,0.4,0.3")
    return path, names


def checkpoints_of(path):
    return sorted(name for name in os.listdir(path) if "-step" in name)


def decisions(document):
    return {c["name"]: c for c in document["checkpoints"]}


def kept(document):
    return [c["step"] for c in document["checkpoints"] if c["keep"]]


def test_a_dry_run_gives_every_reason_and_changes_nothing(store):
    path, names = store
    document = stillframe_json("prune", path, "--keep-last", 2, "--keep-best", "loss:min", "--dry-run")
    assert checkpoints_of(path) == names
    assert document["dry_run"] is True and document["run"] == "main" and document["policy"]["keep_last"] == 2
    assert [c["name"] for c in document["checkpoints"]] == names[::-1]
    assert kept(document) == [6000, 5000, 2000]
    assert all(c["reasons"] and not c["removed"] and c["problem"] is None for c in document["checkpoints"])
    assert any("keep_last" in reason for reason in decisions(document)[names[4]]["reasons"])
    assert any("loss" in reason for reason in decisions(document)[names[1]]["reasons"])
    gone = [c for c in document["checkpoints"] if not c["keep"]]
    assert document["bytes"] == sum(c["stored_bytes"] for c in gone) > 0
    text = stillframe("prune", path, "--keep-last", 2, "--keep-best", "loss:min", "--dry-run").stdout
    assert "policy --keep-best loss:min --keep-last 2 (by default --min-verified 1)" in text
    assert text.count("would remove") == 3 and "3 of 6 would be removed" in text and "nothing was changed" in text


def test_without_dry_run_the_same_are_removed_and_the_same_is_printed(store):
    path, names = store
    policy = ["--keep-last", 2, "--keep-best", "loss:min"]
    dry = stillframe_json("prune", path, *policy, "--dry-run")
    wet = stillframe_json("prune", path, *policy)
    assert wet["dry_run"] is False and wet["bytes"] == dry["bytes"]
    for before, after in zip(dry["checkpoints"], wet["checkpoints"]):
        assert after["removed"] == (not before["keep"])
        assert {k: before[k] for k in ("name", "keep", "reasons")} == {k: after[k] for k in ("name", "keep", "reasons")}
    assert checkpoints_of(path) == [names[1], names[4], names[5]]
    assert stillframe_json("verify", path, "--all")["ok"] is True
    again = stillframe_json("prune", path, *policy)
    assert again["bytes"] == 0 and kept(again) == [6000, 5000, 2000]


def test_a_limit_that_nobody_gave_removes_nothing(tmp_path):
    """A file system with less free than the reserve that a daemon keeps by default."""
    with small_tmpfs(tmp_path / "fs", 32) as fs:
        names = make_store(fs / "gpt", "--count", 4, "--elements", 1000, "--verified")
        document = stillframe_json("prune", fs / "gpt", "--keep-last", 4)
        assert document["policy"]["min_free_bytes"] == document["policy"]["max_bytes"] == 0
        assert kept(document) == [4000, 3000, 2000, 1000] and document["missing_bytes"] == 0
        assert checkpoints_of(fs / "gpt") == names
        given = stillframe_json("prune", fs / "gpt", "--keep-last", 4, "--min-free-bytes", "64MiB", "--dry-run")
        assert given["policy"]["min_free_bytes"] == 64 << 20 and given["missing_bytes"] > 0


@pytest.mark.parametrize("flags", [[], ["--max-bytes", "1MB"], ["--min-verified", 1], ["--dry-run"]])
def test_without_a_word_on_what_stays_nothing_is_removed(store, flags):
    path, names = store
    done = stillframe("prune", path, *flags, code=2)
    assert "says what stays" in done.stderr and all(flag in done.stderr for flag in KEEP_FLAGS) and not done.stdout
    assert checkpoints_of(path) == names


@pytest.mark.parametrize(
    "flags",
    [
        ["--keep-last", 0],
        ["--keep-last", -1],
        ["--keep-last", "many"],
        ["--keep-best", "loss:lowest"],
        ["--keep-steps", "1,x"],
        ["--keep-last", 2, "--max-bytes", "big"],
        ["--keep-last", 2, "--min-verified", 0],
    ],
)
def test_an_ill_policy_names_the_flag_and_removes_nothing(store, flags):
    path, names = store
    done = stillframe("prune", path, *flags, code=2)
    assert "--" + flags[-2].strip("-") in done.stderr and "expected" in done.stderr
    assert checkpoints_of(path) == names


def test_every_word_of_the_policy_is_a_flag(store):
    path, _ = store
    words = stillframe_json("prune", path, "--keep-last", 1, "--dry-run")["policy"]
    text = stillframe("prune", "--help").stdout
    assert set(KEEP_FLAGS) | {"--max-bytes", "--min-free-bytes", "--min-verified"} <= set(text.split())
    for word in words:
        assert "--" + word.replace("_", "-") in text


def test_pinned_ones_stay_until_they_are_unpinned(store):
    path, names = store
    stillframe("pin", f"{path}@1000")
    assert kept(stillframe_json("prune", path, "--keep-last", 1)) == [6000, 1000]
    stillframe("unpin", f"{path}@1000")
    assert kept(stillframe_json("prune", path, "--keep-last", 1)) == [6000]
    assert checkpoints_of(path) == [names[5]]


def test_nothing_goes_while_nothing_newer_is_verified(tmp_path):
    names = make_store(tmp_path, "--count", 4, "--elements", 10)
    document = stillframe_json("prune", tmp_path, "--keep-last", 1)
    assert kept(document) == [4000, 3000, 2000, 1000] and checkpoints_of(tmp_path) == names
    stillframe("scrub", f"{tmp_path}@3000")
    assert kept(stillframe_json("prune", tmp_path, "--keep-last", 1)) == [4000, 3000]


@contextlib.contextmanager
def being_read(checkpoint):
    with open(checkpoint / "manifest.json") as manifest:
        fcntl.flock(manifest, fcntl.LOCK_SH)
        yield


def test_what_somebody_reads_is_passed_over(store):
    path, names = store
    with being_read(path / names[0]):
        document = stillframe_json("prune", path, "--keep-last", 1)
    held = decisions(document)[names[0]]
    assert (held["keep"], held["removed"]) == (False, False) and "being read" in held["problem"]
    assert checkpoints_of(path) == [names[0], names[5]]
    stillframe("prune", path, "--keep-last", 1)
    assert checkpoints_of(path) == [names[5]]


def test_a_dry_run_says_what_is_being_read_and_would_be_passed_over(store):
    path, names = store
    with being_read(path / names[0]):
        document = stillframe_json("prune", path, "--keep-last", 1, "--dry-run")
        text = stillframe("prune", path, "--keep-last", 1, "--dry-run").stdout
        wet = stillframe_json("prune", path, "--keep-last", 1)
    held = decisions(document)[names[0]]
    assert (held["keep"], held["removed"]) == (False, False) and "being read" in held["problem"]
    assert all(c["problem"] is None for name, c in decisions(document).items() if name != names[0])
    assert document["bytes"] == wet["bytes"], "the dry run says what the real one frees"
    (line,) = [line for line in text.splitlines() if line.startswith(names[0])]
    assert "would remove" not in line and "being read; passed over" in line
    assert "4 of 6 would be removed" in text
    again = stillframe_json("prune", path, "--keep-last", 1, "--dry-run")
    assert decisions(again)[names[0]]["problem"] is None


def test_training_may_go_on_meanwhile(store):
    path, _ = store
    with open(path / "run-main.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert kept(stillframe_json("prune", path, "--keep-last", 1)) == [6000]


def test_other_runs_and_unreadable_ones_are_left_alone(store):
    path, names = store
    (other,) = make_store(path, "--run", "other", "--count", 1, "--elements", 10, "--verified")
    flip_byte(path / names[2] / "manifest.json", 40)
    document = stillframe_json("prune", path, "--keep-last", 1)
    assert document["unreadable"] == [names[2]] and other not in decisions(document)
    assert checkpoints_of(path) == [names[2], names[5], other]
    text = stillframe("prune", path, "--keep-last", 1).stdout
    assert f"{names[2]}: its manifest cannot be read" in text
    assert kept(stillframe_json("prune", f"{path}:other", "--keep-last", 1)) == [1000]


def test_a_run_or_checkpoint_that_is_none_is_refused(store):
    path, names = store
    assert "'absent'" in stillframe("prune", f"{path}:absent", "--keep-last", 1, code=3).stderr
    for address in (f"{path}@1000", f"{path}@latest", f"{path}@best"):
        assert "names one checkpoint" in stillframe("prune", address, "--keep-last", 1, code=2).stderr
    assert checkpoints_of(path) == names


def test_a_limit_that_cannot_be_met_is_said(store):
    path, _ = store
    document = stillframe_json("prune", path, "--keep-last", 6, "--max-bytes", 1, "--dry-run")
    assert document["missing_bytes"] > 0
    text = stillframe("prune", path, "--keep-last", 6, "--max-bytes", 1, "--dry-run").stdout
    assert "the limits are missed by" in text
