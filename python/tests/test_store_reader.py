"""The reader that lies in every store: gets every golden tensor, finds every flipped byte, follows and runs nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Tuple

import pytest

from machine import cli
from training import save_steps

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src" / "store" / "read-v1.py"
GOLDEN = ROOT / "tests" / "golden" / "v1"
EXPECTED: Dict[str, Dict[str, str]] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
MIB = 1 << 20
TIMEOUT_SECONDS = 60


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_v1", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=sorted({key.split("/")[0] for key in EXPECTED}))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A golden store with the reader in it, as a writer leaves it."""
    return copied(request.param, tmp_path)


def copied(case: str, tmp_path: Path) -> Path:
    store = Path(shutil.copytree(GOLDEN / case, tmp_path / case))
    shutil.copy(SCRIPT, store)
    return store


def run(store: Path, *arguments: str, script: str = SCRIPT.name) -> subprocess.CompletedProcess[str]:
    """As on a machine without anything: no site-packages, no environment, none of our modules."""
    command = [sys.executable, "-I", "-S", "-B", str(store / script), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT_SECONDS, check=False)


def checkpoints(store: Path) -> List[str]:
    return [key.split("/")[1] for key in EXPECTED if key.split("/")[0] == store.name]


def tensors_in(path: Path) -> Tuple[Dict[str, Any], Dict[str, bytes]]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    header.pop("__metadata__", None)
    assert sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values()) == len(data)
    return header, {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}


def sealed(text: bytes) -> bytes:
    """The manifest's text with a right CRC-32, as somebody with bad intentions writes it."""
    return text[:-13] + b'%08x"}\n}\n' % zlib.crc32(text[:-13])


def reseal(manifest: Path, before: str, after: str) -> None:
    text = manifest.read_bytes()
    assert before.encode() in text
    manifest.write_bytes(sealed(text.replace(before.encode(), after.encode(), 1)))


def test_every_golden_tensor_is_extracted(store: Path, tmp_path: Path) -> None:
    for name in checkpoints(store):
        target = tmp_path / f"{name}.safetensors"
        done = run(store, "extract", name, str(target))
        assert done.returncode == 0, done.stderr
        header, tensors = tensors_in(target)
        hashes = {title: hashlib.sha256(data).hexdigest() for title, data in tensors.items()}
        assert hashes == EXPECTED[f"{store.name}/{name}"]
        ranks = json.loads((store / name / "manifest.json").read_text("utf-8"))["ranks"]
        for rank in ranks:
            for entry in rank["entries"]:
                found = header[(f"rank-{rank['rank']:05d}/" if len(ranks) > 1 else "") + entry["name"]]
                odd = entry["dtype"] == "C128"
                assert found["dtype"] == ("U8" if odd else entry["dtype"])
                assert found["shape"] == entry["shape"] + [16] * odd


def test_a_whole_store_is_listed_and_verified(store: Path) -> None:
    names = checkpoints(store)
    verified = run(store, "verify")
    assert (verified.returncode, verified.stdout) == (0, "".join(f"{name} ok\n" for name in reversed(names)))
    (store / names[-1] / "pinned").write_text("")
    listed = run(store, "list")
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "main"] for name in reversed(names)]
    assert [line.endswith(" pinned") for line in lines] == [True] + [False] * (len(names) - 1)
    tensors = run(store, "list", names[0])
    assert len(tensors.stdout.splitlines()) == len(EXPECTED[f"{store.name}/{names[0]}"])


@pytest.mark.usefixtures("library")
def test_what_a_training_run_wrote_is_extracted_as_we_restore_it(tmp_path: Path) -> None:
    """By the readers that the writer has put there."""
    store = tmp_path / "store"
    save_steps(store, 2)
    verified = run(store, "verify", script="read-v2.py")
    assert verified.returncode == 0, verified.stdout
    assert len(verified.stdout.splitlines()) == 2
    newest = verified.stdout.split()[0]
    target = tmp_path / "out.safetensors"
    assert run(store, "extract", newest, str(target), script="read-v2.py").returncode == 0
    cli("restore", store, tmp_path / "restored")
    _, tensors = tensors_in(target)
    _, restored = tensors_in(tmp_path / "restored" / "rank-00000.safetensors")
    assert tensors == restored and tensors


def test_one_tensor_alone(tmp_path: Path) -> None:
    store = copied("derived", tmp_path)
    (name,) = checkpoints(store)
    target = tmp_path / "two.safetensors"
    assert run(store, "extract", name, str(target), "bf16", "copy").returncode == 0
    _, tensors = tensors_in(target)
    assert list(tensors) == ["copy", "bf16"]
    for title, data in tensors.items():
        assert hashlib.sha256(data).hexdigest() == EXPECTED[f"derived/{name}"][title]


def test_what_cannot_be_extracted_leaves_nothing(tmp_path: Path) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    target = tmp_path / "out.safetensors"
    unknown = run(store, "extract", name, str(target), "width4", "lost")
    assert unknown.returncode == 1 and "lost" in unknown.stderr and not target.exists()
    data = store / name / "rank-00000.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    damaged = run(store, "extract", name, str(target))
    assert damaged.returncode == 1 and "CRC-32" in damaged.stderr and not target.exists()
    target.write_text("mine")
    assert run(store, "extract", name, str(target)).returncode == 1
    assert target.read_text() == "mine"
    assert run(store, "extract", name).returncode == 2


def open_all(reader: ModuleType, store: Path, name: str) -> bytes:
    opened = [rank for _, rank in reader.ranks_of(str(store), name)]
    try:
        return b"".join(piece for rank in opened for piece in rank.read(0, rank.size))
    finally:
        for rank in opened:
            for file in rank.files:
                file.close()


def test_every_flipped_byte_of_manifest_and_table_is_found(
    reader: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = reader.open_file
    for name in checkpoints(store):
        for path in [store / name / "manifest.json", *(store / name).glob("*.table")]:
            good = path.read_bytes()
            for at in range(len(good)):
                bad = good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]

                def open_bad(directory: str, file: str, *size: int) -> Any:  # thousands of writes would take minutes
                    return io.BytesIO(bad) if file == path.name else open_file(directory, file, *size)

                monkeypatch.setattr(reader, "open_file", open_bad)
                with pytest.raises(Exception):
                    open_all(reader, store, name)
                monkeypatch.setattr(reader, "open_file", open_file)
            assert open_all(reader, store, name)


def test_every_truncation_is_found(reader: ModuleType, store: Path) -> None:
    for name in checkpoints(store):
        for path in (store / name).iterdir():
            good = path.read_bytes()
            for length in {0, 1, len(good) // 2, len(good) - 1} & set(range(len(good))):
                path.write_bytes(good[:length])
                with pytest.raises(Exception):
                    open_all(reader, store, name)
            path.write_bytes(good)


def test_no_flipped_byte_of_the_data_is_handed_out(reader: ModuleType, store: Path) -> None:
    for name in checkpoints(store):
        right = open_all(reader, store, name)
        paths = [path for kind in ("*.data", "*.safetensors") for path in (store / name).glob(kind)]
        for path in paths:
            good = path.read_bytes()
            for at in range(0, len(good), 1 + len(good) // 100):
                path.write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
                try:
                    got = open_all(reader, store, name)
                except Exception:
                    continue
                assert got == right, (path.name, at)  # what nothing refers to, such as a shared file's other chunks
            path.write_bytes(good)


def test_the_verdict_names_the_bad_one_and_goes_on(tmp_path: Path) -> None:
    store = copied("shared", tmp_path)
    names = checkpoints(store)
    table = store / names[1] / "rank-00000.table"
    table.write_bytes(table.read_bytes()[:-1])
    verified = run(store, "verify")
    assert verified.returncode == 1
    lines = verified.stdout.splitlines()
    assert lines[0] == f"{names[2]} ok" and lines[2] == f"{names[0]} ok"
    assert lines[1].startswith(f"{names[1]} BAD: ") and "127 bytes" in lines[1]
    (store / names[0] / "manifest.json").unlink()
    listed = run(store, "list")
    assert listed.returncode == 1 and "BAD" in listed.stdout.splitlines()[2]


def test_a_table_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    store = copied("shared", tmp_path)
    names = checkpoints(store)
    shutil.copy(store / names[0] / "rank-00000.table", store / names[2])
    shutil.copy(store / names[0] / "rank-00000.data", store / names[2])
    verified = run(store, "verify", names[2])
    assert verified.returncode == 1 and "rank-00000.table does not match its CRC-32" in verified.stdout


def test_a_safetensors_header_that_says_something_else_is_found(tmp_path: Path) -> None:
    store = copied("safetensors", tmp_path)
    (name,) = checkpoints(store)
    data = store / name / "rank-00000.safetensors"
    data.write_bytes(data.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"I32"'))
    verified = run(store, "verify")
    assert verified.returncode == 1 and "header" in verified.stdout


def test_every_flipped_byte_of_a_safetensors_header_is_found(
    reader: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied("safetensors", tmp_path)
    (name,) = checkpoints(store)
    path = store / name / "rank-00000.safetensors"
    good = path.read_bytes()
    (length,) = struct.unpack_from("<Q", good)
    open_file = reader.open_file
    for at in range(8 + length):
        for bit in range(8) if at < 8 else [at % 8]:
            bad = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]

            def open_bad(directory: str, file: str, *size: int) -> Any:
                return io.BytesIO(bad) if file == path.name else open_file(directory, file, *size)

            monkeypatch.setattr(reader, "open_file", open_bad)
            with pytest.raises(Exception):
                open_all(reader, store, name)
            monkeypatch.setattr(reader, "open_file", open_file)
    assert open_all(reader, store, name)


def test_a_safetensors_header_of_another_run_or_with_a_key_twice_is_refused(reader: ModuleType) -> None:
    entries = [{"name": "w", "dtype": "F32", "shape": [1], "offset": 0, "bytes": 4}]
    metadata = {"format": "pt", "stillframe.run": "main", "stillframe.step": "1"}
    tensor = '"w": {"data_offsets": [0, 4], "dtype": "F32", "shape": [1]}'

    def check(*members: str, spare: int = 0) -> None:
        text = ("{" + ", ".join(members) + "}").encode().ljust(4088 + spare)
        reader.check_header(struct.pack("<Q", len(text)) + text, metadata, entries)

    right = '"__metadata__": ' + json.dumps(metadata)
    check(right, tensor)
    for members in [(tensor,), (right.replace("main", "next"), tensor), (right, tensor, tensor),
                    (right, tensor.replace("[1]", "[true]")), (right, tensor.replace("[1]", "[1.0]"))]:
        with pytest.raises(ValueError):
            check(*members)
    with pytest.raises(ValueError):
        check(right, tensor, spare=8)


def test_a_tensor_of_the_name_that_safetensors_keeps_is_not_extracted(tmp_path: Path) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    reseal(store / name / "manifest.json", '"name": "width4"', '"name": "__metadata__"')
    target = tmp_path / "out.safetensors"
    done = run(store, "extract", name, str(target))
    assert done.returncode == 1 and "__metadata__" in done.stderr and not target.exists()


@pytest.mark.parametrize(
    "name",
    ["0000001-step000005-20261122T123005Z", "000001-step0000005-20261122T123005Z", "000001-step-000000-20261122T123005Z",
     "000001-step000005-20261322T123005Z", "000001-step000005-20260230T123005Z", "000001-step000005-20261122T243005Z",
     "000001-step000005-20261122T123060Z", "\u0661\u0661\u0661\u0661\u0661\u0661-step000005-20261122T123005Z",
     "18446744073709551616-step000005-20261122T123005Z", "000001-step9223372036854775808-20261122T123005Z",
     "000001-step000005-20261122T123005Z.partial", "000001-step000005-20261122T123005Z\n"],
)
def test_a_name_that_would_not_be_written_is_no_checkpoints(tmp_path: Path, reader: ModuleType, name: str) -> None:
    store = copied("constant", tmp_path)
    listed = run(store, "list").stdout
    (store / name).mkdir()
    assert run(store, "list").stdout == listed
    with pytest.raises(ValueError, match="no checkpoint's name"):
        reader.read_manifest(str(store), name)


def test_a_file_of_a_checkpoints_name_is_no_checkpoint(tmp_path: Path) -> None:
    store = copied("constant", tmp_path)
    listed = run(store, "list").stdout
    (store / "999999-step000005-20261122T123005Z").write_text("mine")
    assert run(store, "list").stdout == listed


@pytest.mark.parametrize("file", ["manifest.json", "rank-00000.table", "rank-00000.data"])
def test_a_link_is_not_followed(tmp_path: Path, file: str) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    path = store / name / file
    path.rename(tmp_path / file)
    path.symlink_to(tmp_path / file)
    verified = run(store, "verify")
    assert verified.returncode == 1 and "BAD" in verified.stdout
    path.unlink()
    os.mkfifo(path)
    verified = run(store, "verify")
    assert verified.returncode == 1 and "BAD" in verified.stdout


def test_a_linked_directory_is_not_followed(tmp_path: Path) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    (store / name).rename(tmp_path / name)
    (store / name).symlink_to(tmp_path / name)
    verified = run(store, "verify")
    assert verified.returncode == 1 and "is a link" in verified.stdout


def test_a_later_version_is_said_to_be_one(tmp_path: Path) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    reseal(store / name / "manifest.json", '"version": 1', '"version": 2')
    verified = run(store, "verify")
    assert verified.returncode == 1 and "later reader" in verified.stdout


@pytest.mark.parametrize("tail", [b'\n "seal": {"blake3": "5"}\n}\n', b"", b" " * 100_000_001])
def test_a_later_version_may_have_another_seal_and_other_limits(tmp_path: Path, tail: bytes) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    manifest = store / name / "manifest.json"
    text = manifest.read_bytes().replace(b'"version": 1', b'"version": 22')
    manifest.write_bytes(text[:-80] + tail)
    verified = run(store, "verify")
    assert verified.returncode == 1 and "version 22 needs a later reader" in verified.stdout


def test_a_damaged_version_is_damage(tmp_path: Path) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    manifest = store / name / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version": 1', b'"version": 3'))
    verified = run(store, "verify")
    assert verified.returncode == 1 and "does not match its CRC-32" in verified.stdout


def test_a_checkpoint_of_another_name_is_refused(tmp_path: Path) -> None:
    store = copied("constant", tmp_path)
    (name,) = checkpoints(store)
    other = name.replace("000001-step-000001", "000002-step-000001")
    (store / name).rename(store / other)
    verified = run(store, "verify")
    assert verified.returncode == 1 and "000001-step-000001" in verified.stdout
