"""stillframe scrub, verify --quick, pin, unpin and gc, and the addresses @best and @before-nan."""

import fcntl
import os
import time

import pytest

from cli_test import flip_byte, make_store, read_safetensors, snapshot_of, stillframe, stillframe_json


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "gpt"
    return path, make_store(path, "--count", 3)


def damage_data(path, name):
    data = path / name / "rank-00000.data"
    flip_byte(data, data.stat().st_size // 2)


def outcomes(document):
    return {c["name"]: (c["outcome"], c["marked"]) for c in document["checkpoints"]}


# --- scrub ------------------------------------------------------------------------------------------------------------


def test_scrub_marks_what_it_read(store):
    path, names = store
    damage_data(path, names[1])
    document = stillframe_json("scrub", path, code=4)
    assert document["ok"] is False and [c["name"] for c in document["checkpoints"]] == names[::-1]
    expected = {names[0]: ("verified", True), names[1]: ("bad", True), names[2]: ("verified", True)}
    assert outcomes(document) == expected
    reason = {c["name"]: c["reason"] for c in document["checkpoints"]}[names[1]]
    assert "rank-00000.data" in reason and "model.weight" in reason
    assert document["bytes_read"] == sum(c["bytes_read"] for c in document["checkpoints"]) > 0
    states = {c["name"]: c["state"] for c in stillframe_json("ls", path)["checkpoints"]}
    assert states == {names[0]: "verified", names[1]: "bad", names[2]: "verified"}
    marks = snapshot_of(path)
    again = stillframe_json("scrub", path)  # known damage is listed and is no new failure
    assert outcomes(again) == {
        names[0]: ("already_verified", False),
        names[1]: ("bad", False),
        names[2]: ("already_verified", False),
    }
    assert again["bytes_read"] == 0 and snapshot_of(path) == marks
    text = stillframe("scrub", path).stdout
    assert "already verified" in text and "marked before: " in text


def test_scrub_takes_one_checkpoint_when_the_address_names_one(store):
    path, names = store
    assert list(outcomes(stillframe_json("scrub", f"{path}@latest"))) == [names[2]]
    assert list(outcomes(stillframe_json("scrub", f"{path}@1000"))) == [names[0]]
    (other,) = make_store(path, "--run", "other", "--count", 1)
    assert list(outcomes(stillframe_json("scrub", f"{path}:other"))) == [other]


def test_scrub_rechecks_what_was_verified_when_asked(store):
    path, names = store
    stillframe("scrub", path)
    damage_data(path, names[2])
    assert stillframe_json("scrub", path)["ok"] is True, "verified ones are not read again by themselves"
    document = stillframe_json("scrub", path, "--recheck", code=4)
    assert outcomes(document)[names[2]] == ("bad", True)
    assert not (path / names[2] / "verified").exists() and (path / names[2] / "bad").exists()
    assert outcomes(document)[names[1]] == ("verified", False)


def test_scrub_never_calls_an_unconfirmed_one_verified(tmp_path):
    (name,) = make_store(tmp_path, "--count", 1, "--unconfirmed")
    document = stillframe_json("scrub", tmp_path)
    assert outcomes(document) == {name: ("intact_unconfirmed", False)}
    assert not (tmp_path / name / "verified").exists()
    assert "no fence confirmed it" in stillframe("scrub", tmp_path).stdout
    assert "not confirmed by the fence" in stillframe("show", tmp_path).stdout
    assert "no fence confirmed" in stillframe("verify", tmp_path).stdout


def test_scrub_marks_nothing_that_the_system_would_not_let_it_read(store):
    path, names = store
    data = path / names[2] / "rank-00000.data"
    data.rename(path / names[2] / "elsewhere")
    data.symlink_to("elsewhere")
    document = stillframe_json("scrub", path, code=1)
    (one,) = [c for c in document["checkpoints"] if c["name"] == names[2]]
    assert (one["outcome"], one["marked"]) == ("not_checked", False) and "rank-00000.data" in one["reason"]
    assert not (path / names[2] / "bad").exists()


def test_scrub_reads_at_most_at_the_given_rate(tmp_path):
    make_store(tmp_path, "--count", 1, "--raw")
    begun = time.monotonic()
    document = stillframe_json("scrub", tmp_path, "--bytes-per-second", "4MB")
    assert time.monotonic() - begun >= document["bytes_read"] / 4e6 * 0.9
    assert "--bytes-per-second" in stillframe("scrub", tmp_path, "--bytes-per-second", "fast", code=2).stderr


# --- verify --quick ---------------------------------------------------------------------------------------------------


def test_verify_quick_looks_at_everything_but_the_data(store):
    path, names = store
    damage_data(path, names[0])
    document = stillframe_json("verify", path, "--all", "--quick")
    assert document["ok"] is True and document["quick"] is True
    assert "the data was not read" in stillframe("verify", path, "--quick").stdout
    os.truncate(path / names[1] / "rank-00000.data", 1000)
    flip_byte(path / names[2] / "rank-00000.table", 70)
    before = snapshot_of(path)
    document = stillframe_json("verify", path, "--all", "--quick", code=4)
    found = {c["name"]: [f["file"] for f in c["findings"]] for c in document["checkpoints"]}
    assert found[names[0]] == []
    assert found[names[1]] == [f"{names[1]}/rank-00000.data"]
    assert found[names[2]][0] == f"{names[2]}/rank-00000.table"
    assert snapshot_of(path) == before


def test_verify_tells_damage_from_what_cannot_be_read(store):
    path, names = store
    data = path / names[2] / "rank-00000.data"
    data.rename(path / names[2] / "elsewhere")
    data.symlink_to("elsewhere")
    document = stillframe_json("verify", path, code=1)
    (one,) = document["checkpoints"]
    assert (one["ok"], one["damaged"]) == (False, False) and one["findings"][0]["damage"] is False
    assert "proves no damage" in stillframe("verify", path, code=1).stdout


# --- pin and unpin ----------------------------------------------------------------------------------------------------


def test_pin_and_unpin_by_address(store):
    path, names = store
    document = stillframe_json("pin", f"{path}@2000", "--reason", "the paper's figure 3")
    assert document == {
        "store": str(path),
        "name": names[1],
        "run": "main",
        "step": 2000,
        "pinned": True,
        "was_pinned": False,
        "reason": "the paper's figure 3",
    }
    listed = {c["name"]: c for c in stillframe_json("ls", path)["checkpoints"]}
    assert listed[names[1]]["pinned"] is True and "the paper's figure 3" in listed[names[1]]["pin_reason"]
    assert listed[names[0]]["pinned"] is False and listed[names[0]]["pin_reason"] is None
    assert stillframe_json("pin", f"{path}@2000")["was_pinned"] is True
    assert "the paper" not in (path / names[1] / "pinned").read_text(), "the new pin replaces the reason"
    assert stillframe_json("unpin", f"{path}@2000")["was_pinned"] is True
    assert not (path / names[1] / "pinned").exists()
    assert "was not pinned" in stillframe("unpin", f"{path}@2000").stdout


def test_pin_takes_what_a_restore_would_but_a_step_in_any_state(store):
    path, names = store
    (path / names[2] / "bad").write_text("torn\n")
    assert stillframe_json("pin", path)["name"] == names[1]
    assert stillframe_json("pin", f"{path}@3000")["name"] == names[2]
    assert "marked bad" in stillframe("pin", f"{path}@3000").stdout
    flip_byte(path / names[0] / "manifest.json", 40)
    assert "manifest.json" in stillframe("pin", f"{path}@1000", code=4).stderr
    assert "--reason" in stillframe("pin", path, "--reason", "x" * 2000, code=2).stderr
    stillframe("pin", f"{path}@4000", code=3)


def test_unpin_means_the_pinned_one_of_a_step_whatever_its_state(tmp_path):
    (older,) = make_store(tmp_path, "--count", 1, "--elements", 10)
    (newer,) = make_store(tmp_path, "--count", 1, "--elements", 10)
    stillframe("pin", f"{tmp_path}@1000")
    (tmp_path / newer / "pinned").rename(tmp_path / older / "pinned")
    flip_byte(tmp_path / older / "manifest.json", 40)
    document = stillframe_json("unpin", f"{tmp_path}@1000")
    assert (document["name"], document["was_pinned"], document["run"]) == (older, True, None)
    assert not (tmp_path / older / "pinned").exists()
    assert stillframe_json("unpin", f"{tmp_path}@1000")["name"] == newer, "none bears a pin: the newest"


# --- gc ---------------------------------------------------------------------------------------------------------------


def make_orphan(path, name, bytes_in_it=5000):
    folder = path / name
    folder.mkdir()
    (folder / "rank-00000.data").write_bytes(b"x" * bytes_in_it)
    return folder


def test_gc_removes_what_dead_writers_left_and_nothing_else(store):
    path, names = store
    dead = make_orphan(path, "000009-step009000-20261122T153005Z.main.partial")
    cut_off = make_orphan(path, "000007-step007000-20261122T153005Z.removing", 300)
    mark = path / names[0] / "verified.tmp"
    mark.write_text("half")
    before = snapshot_of(path)
    dry = stillframe_json("gc", path, "--dry-run")
    assert snapshot_of(path) == before, "a dry run changes nothing"
    assert dry["dry_run"] is True and dry["bytes_freed"] == 5304
    paths = {dead.name, cut_off.name, f"{names[0]}/verified.tmp"}
    assert {one["path"] for one in dry["removed"]} == paths
    text = stillframe("gc", path, "--dry-run").stdout
    assert "would remove" in text and "run main that was never finished" in text and "nothing was changed" in text
    wet = stillframe_json("gc", path)
    assert wet == {**dry, "dry_run": False}
    assert not dead.exists() and not cut_off.exists() and not mark.exists()
    assert stillframe_json("verify", path, "--all")["ok"] is True
    assert "nothing to remove" in stillframe("gc", path).stdout


def test_gc_leaves_a_living_writer_alone(store):
    path, _ = store
    partial = make_orphan(path, "000009-step009000-20261122T153005Z.main.partial")
    with open(path / "run-main.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for flags in (["--dry-run"], []):
            document = stillframe_json("gc", path, *flags)
            assert document["left_alone"] == [{"path": partial.name, "run": "main"}] and document["removed"] == []
            assert "living writer" in stillframe("gc", path, *flags).stdout
    assert partial.exists()
    stillframe("gc", path)
    assert not partial.exists()


def test_gc_of_a_dry_run_makes_no_lock_file(store):
    path, _ = store
    make_orphan(path, "000009-step009000-20261122T153005Z.stranger.partial")
    assert len(stillframe_json("gc", path, "--dry-run")["removed"]) == 1
    assert not (path / "run-stranger.lock").exists()


def test_gc_says_what_it_could_not_remove(store):
    path, _ = store
    folder = make_orphan(path, "000007-step007000-20261122T153005Z.removing")
    (folder / "of-somebody").mkdir()
    done = stillframe("gc", path, code=1)
    assert "of-somebody" in done.stderr and folder.name in done.stderr
    assert folder.exists()


def test_gc_takes_whole_stores_only(store):
    path, _ = store
    for address in (f"{path}:main", f"{path}@1000", f"{path}@latest"):
        assert "expected the directory of a store" in stillframe("gc", address, code=2).stderr


# --- addresses --------------------------------------------------------------------------------------------------------


def test_best_and_before_nan_work_wherever_an_address_does(tmp_path):
    store = tmp_path / "gpt"
    names = make_store(store, "--count", 5, "--loss", "0.5,0.2,0.3,nan,nan")
    best, before_nan = f"{store}@best", f"{store}@before-nan"
    shown = stillframe_json("show", best)
    assert shown["name"] == names[1] and "0.2" in shown["why"]
    assert stillframe_json("show", f"{store}@best:loss:max")["name"] == names[0]
    assert stillframe_json("show", before_nan)["name"] == names[2]
    assert stillframe_json("verify", before_nan)["checkpoints"][0]["name"] == names[2]
    assert stillframe_json("diff", best, before_nan, code=1)["b"]["name"] == names[2]
    assert stillframe_json("pin", best)["name"] == names[1]
    assert stillframe_json("unpin", best)["name"] == names[1]
    assert stillframe_json("scrub", before_nan)["checkpoints"][0]["name"] == names[2]
    document = stillframe_json("restore", before_nan, tmp_path / "out")
    assert document["step"] == 3000 and document["why"]
    assert read_safetensors(tmp_path / "out" / "rank-00000.safetensors")[0]["stillframe.step"] == "3000"
    assert "absent" in stillframe("show", f"{store}@best:absent", code=3).stderr
    assert "`stillframe show`" in stillframe("ls", best, code=2).stderr
    losses = [line.split()[7] for line in stillframe("ls", store).stdout.splitlines()[1:]]
    assert losses == ["nan", "nan", "0.3", "0.2", "0.5"]
