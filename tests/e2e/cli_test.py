"""The command line `stillframe`, driven as a user or a script drives it, over stores that make_store writes.

STILLFRAME_BUILD_DIR names the build directory, or a directory with the programs: stillframe, stillframed, make_store.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import struct
import subprocess

import pytest

ELEMENTS = 400_000  # of model.weight: 1.6 MB, so two chunks
WEIGHT_CHUNKS = 2
COMMANDS = ["ls", "show", "diff", "verify", "scrub", "restore", "status", "pin", "unpin", "prune", "gc"]


def program(name):
    root = os.environ.get("STILLFRAME_BUILD_DIR")
    if not root:
        pytest.fail("STILLFRAME_BUILD_DIR is not set: it names the build directory (scripts/test sets it)")
    for folder in ("", "src/apps", "tests"):
        candidate = pathlib.Path(root) / folder / name
        if candidate.is_file():
            return str(candidate)
    pytest.fail(f"{name} is not in STILLFRAME_BUILD_DIR")


def run(name, *args, code=0):
    done = subprocess.run([program(name), *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def stillframe(*args, code=0):
    return run("stillframe", *args, code=code)


def stillframe_json(*args, code=0):
    return json.loads(stillframe(*args, "--json", code=code).stdout)


def make_store(path, *flags):
    return run("make_store", path, "--elements", ELEMENTS, *flags).stdout.split()


def flip_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def snapshot_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert (8 + length) % 4096 == 0
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    image = data[8 + length :]
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(image)
    return metadata, header, {n: image[slice(*e["data_offsets"])] for n, e in header.items()}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "gpt"
    names = make_store(path, "--count", 3)
    return path, names


# --- ls ---------------------------------------------------------------------------------------------------------------


def test_ls_lists_newest_first_in_aligned_columns(store):
    path, names = store
    lines = stillframe("ls", path).stdout.splitlines()
    assert lines[0].split() == "NAME RUN STEP TIME (UTC) STATE PINNED loss SIZE RATIO ALARMS".split()
    assert [line.split()[0] for line in lines[1:]] == names[::-1]
    assert re.search(r"main +3000 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +durable +no +0\.25 +1\.5 MiB -> .* \d+\.\d\dx +-$", lines[1])
    step_starts = {line.index(f" {step} ") + 1 for line, step in zip(lines[1:], ("3000", "2000", "1000"))}
    assert step_starts == {lines[0].index("STEP")}


def test_ls_json_is_one_document(store):
    path, names = store
    document = stillframe_json("ls", path)
    assert document["store"] == str(path)
    first = document["checkpoints"][0]
    assert (first["name"], first["sequence"], first["step"], first["run"]) == (names[-1], 3, 3000, "main")
    assert (first["state"], first["pinned"], first["problem"]) == ("durable", False, None)
    assert first["raw_bytes"] == 4 * ELEMENTS + 3 + 32 + 8
    assert 0 < first["stored_bytes"] < first["raw_bytes"]
    stored = sum(p.stat().st_size for p in (path / names[-1]).iterdir())
    assert first["stored_bytes"] == stored


def test_ls_shows_marks_and_damage(store):
    path, names = store
    (path / names[0] / "pinned").write_text("by hand\n")
    (path / names[1] / "bad").write_text("a fence was missed\n")
    flip_byte(path / names[2] / "manifest.json", 20)
    states = {c["name"]: c for c in stillframe_json("ls", path)["checkpoints"]}
    assert states[names[0]]["pinned"] is True
    assert (states[names[1]]["state"], states[names[1]]["problem"]) == ("bad", "a fence was missed")
    assert states[names[2]]["state"] == "unreadable" and states[names[2]]["raw_bytes"] is None
    assert "manifest.json" in states[names[2]]["problem"]
    assert "a fence was missed" in stillframe("ls", path).stdout


def test_ls_counts_within_a_run_when_one_is_named(store):
    path, _ = store
    (other,) = make_store(path, "--run", "other", "--count", 1, "--verified")
    assert [c["name"] for c in stillframe_json("ls", f"{path}:other")["checkpoints"]] == [other]
    assert stillframe_json("ls", f"{path}:other")["checkpoints"][0]["state"] == "verified"
    assert len(stillframe_json("ls", path)["checkpoints"]) == 4


def test_ls_of_an_empty_store_is_not_an_error(tmp_path):
    assert stillframe_json("ls", tmp_path)["checkpoints"] == []
    assert "no checkpoints" in stillframe("ls", tmp_path).stdout


@contextlib.contextmanager
def being_removed(checkpoint):
    """The moment of retention between its lock and its rename."""
    with open(checkpoint / "manifest.json") as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        yield


def test_a_checkpoint_that_retention_is_removing_is_not_taken_for_a_damaged_one(store):
    path, names = store
    with being_removed(path / names[0]):
        assert all(c["state"] == "durable" for c in stillframe_json("ls", path)["checkpoints"])
        document = stillframe_json("verify", path, "--all")
    assert document["ok"] is True and [c["name"] for c in document["checkpoints"]] == names[:0:-1]


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_tells_what_a_checkpoint_holds(store):
    path, names = store
    text = stillframe("show", f"{path}@2000", "--tensors").stdout
    assert names[1] in text and "loss" in text
    assert re.search(rf"^model\.weight +F32 +\[{ELEMENTS}\] +{4 * ELEMENTS} +\d+$", text, re.M)
    document = stillframe_json("show", f"{path}@latest", "--tensors")
    assert (document["name"], document["metrics"]) == (names[2], {"loss": 0.25})
    (rank,) = document["ranks"]
    assert rank["chunks"] == WEIGHT_CHUNKS == sum(rank["chunks_by_codec"].values())
    assert set(rank["chunks_by_codec"]) <= {"planes", "raw"} and "planes" in rank["chunks_by_codec"]
    entries = {e["name"]: e for e in rank["entries"]}
    assert entries["phase"]["dtype"] == "C128" and entries["optimizer.step"]["shape"] == []


def test_show_tells_level_codec_and_version(tmp_path):
    make_store(tmp_path / "encoded", "--count", 1)
    make_store(tmp_path / "plain", "--count", 1, "--raw")
    golden = pathlib.Path(__file__).parents[1] / "golden" / "v1" / "planes-lz4"
    for address, level, version, codec in (
        (tmp_path / "encoded", "default", 2, "planes"),
        (tmp_path / "plain", "raw", 1, "raw"),
        (golden, None, 1, "planes_lz4"),
    ):
        document = stillframe_json("show", f"{address}@latest")
        assert (document["level"], document["format_version"]) == (level, version)
        assert codec in document["ranks"][0]["chunks_by_codec"]
        text = stillframe("show", f"{address}@latest").stdout
        assert re.search(rf"^format +version {version}$", text, re.M) and codec in text
        assert re.findall(r"^level +(.*)$", text, re.M) == ([level] if level else [])



def test_show_strips_escape_sequences_from_what_it_prints(store):
    path, names = store
    (path / names[2] / "bad").write_text("\x1b]0;owned\x07")
    assert "\x1b" not in stillframe("show", path).stdout


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_takes_the_newest_and_changes_nothing(store):
    path, names = store
    before = snapshot_of(path)
    assert names[2] in stillframe("verify", path).stdout
    document = stillframe_json("verify", path, "--all")
    assert document["ok"] is True
    assert [c["name"] for c in document["checkpoints"]] == names[::-1]
    assert all(c["ok"] and c["chunks"] == WEIGHT_CHUNKS and not c["findings"] for c in document["checkpoints"])
    assert snapshot_of(path) == before


def test_verify_names_file_tensor_and_chunk_of_one_flipped_byte(store):
    path, names = store
    data = path / names[2] / "rank-00000.data"
    flip_byte(data, data.stat().st_size // 4)  # of two chunks of like size: inside the first
    done = stillframe("verify", path, code=4)
    assert "CORRUPT" in done.stdout
    document = stillframe_json("verify", path, code=4)
    (finding,) = document["checkpoints"][0]["findings"]
    assert (finding["file"], finding["chunk"]) == (f"{names[2]}/rank-00000.data", 0)
    assert "model.weight" in finding["tensors"]
    for part in (finding["file"], "model.weight", "chunk 0"):
        assert part in done.stdout
    assert [c["ok"] for c in stillframe_json("verify", path, "--all", code=4)["checkpoints"]] == [False, True, True]
    stillframe("verify", f"{path}@2000")


@pytest.mark.parametrize("file", ["manifest.json", "rank-00000.table"])
def test_verify_finds_damage_beside_the_data(store, file):
    path, names = store
    flip_byte(path / names[2] / file, 30)
    (finding,) = stillframe_json("verify", path, code=4)["checkpoints"][0]["findings"]
    assert finding["file"] == f"{names[2]}/{file}" and finding["chunk"] is None


# --- restore ----------------------------------------------------------------------------------------------------------


def test_restore_writes_safetensors_bit_for_bit(store, tmp_path):
    path, names = store
    target = tmp_path / "out" / "weights"
    document = stillframe_json("restore", f"{path}@2000", target)
    assert (document["name"], document["step"], document["skipped"]) == (names[1], 2000, [])
    assert sorted(os.listdir(target)) == ["manifest.json", "rank-00000.safetensors", "tree.json"]
    assert os.listdir(target.parent) == ["weights"], "no partial directory is left"
    metadata, header, tensors = read_safetensors(target / "rank-00000.safetensors")
    assert metadata["format"] == "pt" and metadata["stillframe.step"] == "2000"
    assert tensors["model.weight"] == struct.pack(f"<{ELEMENTS}f", *(2000.0 + i % 1000 for i in range(ELEMENTS)))
    assert tensors["model.mask"] == b"\1\0\1" and header["model.mask"]["dtype"] == "BOOL"
    assert (header["phase"]["dtype"], header["phase"]["shape"]) == ("U8", [2, 16])
    assert tensors["phase"] == struct.pack("<4d", 2000, -2000, 2000, -2000)
    assert tensors["optimizer.step"] == struct.pack("<q", 2000)
    assert (target / "manifest.json").read_bytes() == (path / names[1] / "manifest.json").read_bytes()
    (rank,) = json.loads((target / "tree.json").read_text())["ranks"]
    assert rank["file"] == "rank-00000.safetensors" and "model.weight" in json.dumps(rank["tree"])
    for file in document["files"]:
        assert (target / file["file"]).stat().st_size == file["bytes"]


def test_restore_writes_a_file_per_rank(tmp_path):
    make_store(tmp_path / "s", "--count", 1, "--ranks", 2)
    stillframe("restore", tmp_path / "s", tmp_path / "out")
    steps = [read_safetensors(tmp_path / "out" / f"rank-0000{r}.safetensors")[2]["optimizer.step"] for r in (0, 1)]
    assert steps == [struct.pack("<q", 1000), struct.pack("<q", 1001)]


def test_restore_falls_back_to_the_one_before_and_says_why(store, tmp_path):
    path, names = store
    data = path / names[2] / "rank-00000.data"
    flip_byte(data, data.stat().st_size // 2)
    done = stillframe("restore", path, tmp_path / "out")
    assert f"restored {names[1]}" in done.stdout
    assert names[2] in done.stderr and "rank-00000.data" in done.stderr
    document = stillframe_json("restore", path, tmp_path / "again")
    assert document["name"] == names[1]
    (skipped,) = document["skipped"]
    assert skipped["name"] == names[2] and "model.weight" in skipped["reason"]


def test_restore_of_a_damaged_step_writes_nothing(store, tmp_path):
    path, names = store
    data = path / names[2] / "rank-00000.data"
    flip_byte(data, data.stat().st_size // 2)
    assert names[2] in stillframe("restore", f"{path}@3000", tmp_path / "out" / "w", code=4).stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_restore_leaves_a_directory_that_is_not_empty_alone(store, tmp_path):
    path, _ = store
    target = tmp_path / "out"
    target.mkdir()
    stillframe("restore", path, str(target) + "/")  # an empty one is taken
    before = snapshot_of(target)
    assert "not empty" in stillframe("restore", f"{path}@1000", target, code=2).stderr
    assert snapshot_of(target) == before


def test_restore_meets_another_one_under_way(store, tmp_path):
    path, _ = store
    (tmp_path / "out.partial").mkdir()
    assert "out.partial" in stillframe("restore", path, tmp_path / "out", code=5).stderr
    assert (tmp_path / "out.partial").is_dir() and not (tmp_path / "out").exists()


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, code",
    [
        ([], 2),
        (["ls"], 2),
        (["nonsense"], 2),
        (["ls", "{store}", "--unknown"], 2),
        (["show", "{store}@soon"], 2),
        (["verify", "{store}@1000", "--all"], 2),
        (["status"], 2),
        (["restore", "{store}", ".."], 2),
        (["ls", "{store}/absent"], 3),
        (["show", "{store}@4000"], 3),
        (["show", "{store}:other"], 3),
        (["verify", "{store}:other"], 3),
        (["restore", "{store}@4000", "{store}/../out"], 3),
        (["status", "--socket", "{store}/none.sock"], 6),
    ],
)
def test_exit_codes(store, args, code):
    path, _ = store
    done = stillframe(*(arg.format(store=path) for arg in args), code=code)
    assert done.stderr and not done.stdout


def test_output_that_cannot_be_written_is_a_failure(store):
    path, _ = store
    with open("/dev/full", "w") as full:
        done = subprocess.run([program("stillframe"), "ls", str(path)], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"could not be written" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_and_the_exit_codes(command):
    text = stillframe(command, "--help").stdout
    assert re.search(rf"Example:\n +stillframe {command} ", text)
    assert "4 corrupt" in text and "6 daemon unavailable" in text


def test_help_and_version():
    text = stillframe("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert re.fullmatch(r"stillframe \d+\.\d+\.\d+\n", stillframe("--version").stdout)


# --- stillframed's command line ---------------------------------------------------------------------------------------


def test_daemon_help_names_every_key_as_a_flag():
    text = run("stillframed", "--help").stdout
    for flag in ("--daemon-socket", "--arena-budget-bytes", "--persist-level", "--retention-keep-last", "--log-path"):
        assert flag in text
    assert "Examples:" in text and "5 busy" in text
    assert re.fullmatch(r"stillframed \d+\.\d+\.\d+\n", run("stillframed", "--version").stdout)


def test_daemon_refuses_a_wrong_configuration(tmp_path):
    config = tmp_path / "d.toml"
    config.write_text("[daemon]\nmax_client = 3\n")
    error = run("stillframed", "--config", config, code=2).stderr
    assert f"{config}:2: daemon.max_client: expected a known key" in error and "daemon.max_clients" in error
    assert "--log-level: expected" in run("stillframed", "--log-level", "loud", code=2).stderr
    assert "--daemon-socket" in run("stillframed", code=2).stderr
    run("stillframed", "--config", tmp_path / "absent.toml", code=3)


def test_daemon_detached_reports_a_start_that_failed(tmp_path):
    socket = tmp_path / "absent" / "deeper" / "d.sock"
    (tmp_path / "absent").write_text("a file where a directory is needed")
    done = run("stillframed", "--daemon-socket", socket, "--arena-budget-bytes", 1 << 26, "--detach", code=1)
    assert str(tmp_path / "absent") in done.stderr
