"""stillframe diff and show --tensors, driven as a user drives them."""

import math
import re
import shutil
import subprocess

import pytest

from cli_test import ELEMENTS, flip_byte, make_store, program, stillframe, stillframe_json

DIFFERENT = 1


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "gpt"
    return path, make_store(path, "--count", 3)


def changed(document):
    return {tensor["name"]: tensor for tensor in document["changed"]}


def test_a_checkpoint_equals_itself_and_nothing_is_read(store):
    path, names = store
    data = path / names[0] / "rank-00000.data"
    flip_byte(data, 100)  # unseen: diff takes the tables' word, verify is another command
    document = stillframe_json("diff", f"{path}@1000", f"{path}@1000")
    assert document["equal"] is True and document["tensors"]["equal"] == 4
    assert document["compared_bytes"] == 0 and document["skipped_bytes"] == 4 * ELEMENTS + 3 + 32 + 8
    assert stillframe("diff", f"{path}@1000", f"{path}@1000").stdout.splitlines()[-1].startswith("equal: 4 tensor(s)")


def test_what_changed_is_named_with_share_and_distance(store):
    path, names = store
    document = stillframe_json("diff", f"{path}@1000", f"{path}@3000", code=DIFFERENT)
    assert (document["a"]["name"], document["b"]["name"]) == (names[0], names[2])
    assert document["b"] == {"store": str(path), "name": names[2], "run": "main", "step": 3000}
    assert document["equal"] is False
    assert document["tensors"] == {"equal": 1, "changed": 3, "layout_changed": 0, "added": 0, "removed": 0}
    weight = changed(document)["model.weight"]
    assert (weight["dtype"], weight["shape"], weight["elements"]) == ("F32", [ELEMENTS], ELEMENTS)
    assert (weight["changed_elements"], weight["changed_share"]) == (ELEMENTS, 1.0)
    assert weight["max_difference"] == 2000 and math.isclose(weight["rms_difference"], 2000)
    assert math.isclose(changed(document)["phase"]["max_difference"], 2000 * math.sqrt(2))
    assert changed(document)["optimizer.step"]["max_difference"] == 2000
    assert document["values"] == [{"rank": 0, "path": "values.step", "before": 1000, "after": 3000}]
    text = stillframe("diff", f"{path}@1000", f"{path}@3000", code=DIFFERENT).stdout
    assert re.search(rf"^model\.weight +F32 \[{ELEMENTS}\] +100\.0 % +2000 +2000$", text, re.M)
    assert re.search(r"^values\.step +1000 +3000$", text, re.M)
    assert "3 tensor(s) changed" in text and "1 equal" in text


def test_one_element_in_a_million_is_seen_and_nan_is_said(tmp_path):
    make_store(tmp_path / "a", "--count", 1)
    make_store(tmp_path / "b", "--count", 1, "--nan")
    document = stillframe_json("diff", tmp_path / "a", tmp_path / "b", code=DIFFERENT)
    (weight,) = document["changed"]
    assert (weight["name"], weight["changed_elements"]) == ("model.weight", 1)
    assert (weight["left_out"], weight["nan_before"], weight["nan_after"]) == (1, 0, 1)
    assert (weight["max_difference"], weight["rms_difference"]) == (0, 0)
    assert document["skipped_bytes"] > 0, "the second chunk is equal and not read"
    text = stillframe("diff", tmp_path / "a", tmp_path / "b", code=DIFFERENT).stdout
    assert "<0.1 %" in text and "left out of max and RMS: 1 (1 NaN in B)" in text


def test_other_shapes_and_ranks_are_said_and_not_compared(tmp_path):
    make_store(tmp_path / "a", "--count", 1, "--ranks", 2)
    make_store(tmp_path / "b", "--count", 1, "--elements", 5)
    document = stillframe_json("diff", tmp_path / "a", tmp_path / "b", code=DIFFERENT)
    (layout,) = document["layout_changed"]
    assert layout == {
        "rank": 0,
        "name": "model.weight",
        "before": {"dtype": "F32", "shape": [ELEMENTS]},
        "after": {"dtype": "F32", "shape": [5]},
    }
    assert (document["ranks_added"], document["ranks_removed"]) == ([], [1])
    text = stillframe("diff", tmp_path / "a", tmp_path / "b", code=DIFFERENT).stdout
    assert f"was F32 [{ELEMENTS}]: not compared" in text and "rank 1: only in A" in text


@pytest.mark.parametrize("flags", [["--raw"], ["--zeros"], []])
def test_the_way_a_checkpoint_is_stored_does_not_matter(tmp_path, flags):
    make_store(tmp_path / "a", "--count", 1, "--same-model", *(["--zeros"] if "--zeros" in flags else []))
    make_store(tmp_path / "b", "--count", 2, "--same-model", *flags)
    document = stillframe_json("diff", f"{tmp_path}/a@1000", f"{tmp_path}/b@2000", code=DIFFERENT)
    assert set(changed(document)) == {"phase", "optimizer.step"}


def test_damage_in_what_must_be_read_is_a_failure_with_the_place(store):
    path, names = store
    flip_byte(path / names[2] / "rank-00000.data", 100)
    done = stillframe("diff", f"{path}@1000", f"{path}@3000", code=4)
    assert "rank-00000.data" in done.stderr and "model.weight" in done.stderr and not done.stdout


def test_a_bad_one_can_be_looked_at_and_an_absent_one_cannot(store):
    path, names = store
    (path / names[2] / "bad").write_text("torn\n")
    stillframe("diff", f"{path}@1000", f"{path}@3000", code=DIFFERENT)
    assert "4000" in stillframe("diff", f"{path}@1000", f"{path}@4000", code=3).stderr
    shutil.rmtree(path / names[1])
    stillframe("diff", f"{path}@2000", f"{path}@1000", code=3)


def test_failure_and_difference_have_exit_codes_of_their_own(store):
    path, names = store
    table = path / names[2] / "rank-00000.data"
    table.unlink()
    table.symlink_to("/dev/null")
    assert stillframe("diff", f"{path}@1000", f"{path}@3000", code=2).stderr, "what is 1 elsewhere is 2 here"
    with open("/dev/full", "w") as full:
        args = [program("stillframe"), "diff", f"{path}@1000", f"{path}@2000"]
        done = subprocess.run(args, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2 and b"could not be written" in done.stderr


def test_show_of_a_damaged_one_says_where(store):
    path, names = store
    flip_byte(path / names[2] / "rank-00000.table", 70)
    assert "rank-00000.table" in stillframe("show", path, code=4).stderr
    flip_byte(path / names[1] / "manifest.json", 40)
    assert "manifest.json" in stillframe("show", f"{path}@2000", code=4).stderr


def test_show_lists_tensors_locations_alarms_and_pins(tmp_path):
    make_store(tmp_path, "--count", 1, "--zeros", "--elements", 800_000, "--alarm", "stale=model.weight did not move since step 900")
    stillframe("pin", tmp_path, "--reason", "for a look")
    document = stillframe_json("show", tmp_path, "--tensors")
    (rank,) = document["ranks"]
    assert rank["chunks_by_location"] == {"constant": 2, "own": 2}
    assert rank["entries"][-1] == {"name": "model.mask", "dtype": "BOOL", "shape": [3], "offset": 3200040, "bytes": 3}
    assert document["alarms"] == [{"kind": "stale", "text": "model.weight did not move since step 900"}]
    text = stillframe("show", tmp_path).stdout
    assert re.search(r"^ALARM +stale: model\.weight did not move since step 900$", text, re.M)
    assert re.search(r"^pin +pinned \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: for a look$", text, re.M)
    assert "2 constant, 2 own" in text
    assert stillframe("ls", tmp_path).stdout.splitlines()[1].endswith(" stale")
