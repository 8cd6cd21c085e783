"""The reader of version 2: decodes every golden chunk of codec `planes`, reads version 1 as before, and hostile bytes do it no harm."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Tuple

import pytest

from machine import cli

ROOT = Path(__file__).resolve().parents[2]
READERS = [ROOT / "src" / "store" / name for name in ("read-v1.py", "read-v2.py")]
CHUNKS = ROOT / "tests" / "golden" / "v2" / "chunks"
GOLDEN_V2 = ROOT / "tests" / "golden" / "v2" / "stores"
GOLDEN_V1 = ROOT / "tests" / "golden" / "v1"
EXPECTED: Dict[str, Tuple[int, str]] = {
    name: (int(size), sha256)
    for name, size, sha256 in (line.split() for line in (CHUNKS / "expected.txt").read_text("ascii").splitlines())
}
NAME = "000001-step000005-20261123T080000Z"
TIMEOUT_SECONDS = 60


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_v2", READERS[1])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(chunk: str) -> bytes:
    return (CHUNKS / f"{chunk}.stored").read_bytes()


def run(store: Path, *arguments: str, script: str = "read-v2.py") -> subprocess.CompletedProcess[str]:
    """As on a machine without anything: no site-packages, no environment, none of our modules."""
    command = [sys.executable, "-I", "-S", str(store / script), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT_SECONDS, check=False)


def make_store(store: Path, chunk: str, raw: bytes, version: int = 2) -> Path:
    """One checkpoint of that version: one rank, one tensor, one chunk."""
    entry = {"name": "t", "dtype": "U8", "shape": [len(raw)], "offset": 0, "bytes": len(raw)}
    return write_store(store, version, [entry], [(0, 2, raw, stored(chunk))])


def write_store(store: Path, version: int, entries: List[Dict[str, object]], chunks: List[Tuple[int, int, bytes, bytes]]) -> Path:
    """One checkpoint of one rank; of a chunk location, codec, raw and stored bytes. What this reader does not look at is left zero."""
    directory = store / NAME
    directory.mkdir(parents=True)
    for script in READERS:
        shutil.copy(script, store)
    data, records = b"", b""
    for location, codec, raw, own in chunks:
        records += struct.pack("<BBHIIIQ40x", location, codec, 0, len(raw), len(own), zlib.crc32(raw), len(data))
        data += own
    (directory / "rank-00000.data").write_bytes(data)
    size = sum(len(raw) for _, _, raw, _ in chunks)
    table = struct.pack("<8sIIQQI28x", b"SFTABLE", 1, 64, len(chunks), size, 1 << 20) + records
    (directory / "rank-00000.table").write_bytes(table)
    rank = {
        "rank": 0,
        "image_bytes": size,
        "data": {"file": "rank-00000.data", "bytes": len(data), "start": 0},
        "shared": [],
        "table": {"file": "rank-00000.table", "bytes": len(table), "crc32": "%08x" % zlib.crc32(table)},
        "entries": entries,
    }
    manifest = {"format": "stillframe", "version": version, "sequence": 1, "run": "main", "step": 5, "metrics": {}}
    manifest.update(raw_bytes=size, ranks=[rank])
    text = json.dumps(manifest)[:-1].encode() + b',\n "seal": {"xxh128": "' + b"0" * 32 + b'", "crc32": "'
    (directory / "manifest.json").write_bytes(text + b'%08x"}\n}\n' % zlib.crc32(text))
    return store


@pytest.mark.parametrize("chunk", sorted(EXPECTED))
def test_every_golden_chunk_is_read_from_a_store(reader: ModuleType, chunk: str, tmp_path: Path) -> None:
    size, sha256 = EXPECTED[chunk]
    raw = reader.unpack_planes(stored(chunk), size)
    assert hashlib.sha256(raw).hexdigest() == sha256
    store = make_store(tmp_path / "store", chunk, raw)
    assert run(store, "list").stdout.startswith(f"{NAME} main {size} bytes")
    assert run(store, "verify").stdout == f"{NAME} ok\n"
    target = tmp_path / "out.safetensors"
    done = run(store, "extract", NAME, str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().endswith(raw)


def test_the_golden_store_is_read(tmp_path: Path) -> None:
    store = Path(shutil.copytree(GOLDEN_V2 / "planes", tmp_path / "planes"))
    for script in READERS:
        shutil.copy(script, store)
    assert run(store, "verify").returncode == 0
    for key, tensors in json.loads((GOLDEN_V2 / "expected.json").read_text("utf-8")).items():
        for title, sha256 in tensors.items():
            target = tmp_path / "out.safetensors"
            done = run(store, "extract", key.split("/")[1], str(target), title)
            assert done.returncode == 0, done.stderr
            raw = target.read_bytes()
            assert hashlib.sha256(raw[8 + struct.unpack("<Q", raw[:8])[0] :]).hexdigest() == sha256, (key, title)
            target.unlink()


def planes_of(data: bytes) -> List[Tuple[int, int]]:
    """Where the stored bytes of each plane of a chunk begin, and how many they are."""
    sizes, at = [], 2
    for _ in range(struct.unpack_from("<H", data)[0]):
        _, width, _ = struct.unpack_from("<IBB", data, at)
        sizes += [struct.unpack_from("<BI", data, at + 6 + 5 * plane)[1] for plane in range(width)]
        at += 6 + 5 * width
    return [(at + sum(sizes[:index]), size) for index, size in enumerate(sizes)]


@pytest.mark.parametrize("rank", range(3))
def test_one_bit_of_any_plane_is_found_and_the_file_named(rank: int, tmp_path: Path) -> None:
    """By the command line and by the reader in the store."""
    store = Path(shutil.copytree(GOLDEN_V2 / "planes", tmp_path / "planes"))
    for script in READERS:
        shutil.copy(script, store)
    name = "000001-step000010-20261122T123005Z"
    data = store / name / f"rank-{rank:05d}.data"
    good = data.read_bytes()
    cli("verify", f"{store}@10")
    planes = planes_of(good)
    assert len(planes) == 4 and planes[-1][0] + planes[-1][1] == len(good)
    for begin, size in planes:
        bad = bytearray(good)
        bad[begin + size // 2] ^= 1
        data.write_bytes(bad)
        assert data.name in cli("verify", f"{store}@10", code=4)
        done = run(store, "verify", name)
        assert done.returncode == 1 and data.name in done.stdout, done.stdout
    data.write_bytes(good)
    cli("verify", f"{store}@10")


def test_a_derived_chunk_over_codec_2_is_made(tmp_path: Path) -> None:
    """1 MiB of 3F808001, each plane a constant, and behind it 32 of them rounded to 3F81."""
    floats, rounded = bytes.fromhex("0180803f") * (1 << 18), bytes.fromhex("813f") * 32
    planes = struct.pack("<HIBB", 1, len(floats), 4, 0) + struct.pack("<BI", 2, 1) * 4 + floats[:4]
    entries = [{"name": "master", "dtype": "F32", "shape": [1 << 18], "offset": 0, "bytes": len(floats)},
               {"name": "half", "dtype": "BF16", "shape": [32], "offset": len(floats), "bytes": len(rounded)}]  # fmt: skip
    pieces = struct.pack("<QIB3x", 400, len(rounded), 1)
    store = write_store(tmp_path / "store", 2, entries, [(0, 2, floats, planes), (3, 0, rounded, pieces)])
    target = tmp_path / "out.safetensors"
    done = run(store, "extract", NAME, str(target), "half")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().endswith(rounded)
    assert run(store, "verify").stdout == f"{NAME} ok\n"


def test_a_changed_byte_is_found(reader: ModuleType, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", "weights", reader.unpack_planes(stored("weights"), EXPECTED["weights"][0]))
    for name in ("rank-00000.data", "rank-00000.table", "manifest.json"):
        path = store / NAME / name
        good = path.read_bytes()
        path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
        done = run(store, "verify")
        assert done.returncode == 1 and f"{NAME} BAD" in done.stdout, name
        path.write_bytes(good)
    assert run(store, "verify").returncode == 0


def test_the_reader_of_version_1_says_that_a_later_one_is_needed(reader: ModuleType, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", "weights", reader.unpack_planes(stored("weights"), EXPECTED["weights"][0]))
    done = run(store, "verify", script="read-v1.py")
    assert done.returncode == 1
    assert "format version 2 needs a later reader; nothing is wrong with the checkpoint" in done.stdout


@pytest.mark.parametrize("case", ["container-raw", "planes-lz4", "shared", "derived", "safetensors"])
def test_version_1_is_read_as_before(case: str, tmp_path: Path) -> None:
    store = Path(shutil.copytree(GOLDEN_V1 / case, tmp_path / case))
    for script in READERS:
        shutil.copy(script, store)
    done = run(store, "verify")
    assert done.returncode == 0 and " ok" in done.stdout, done.stdout + done.stderr
    assert done.stdout == run(store, "verify", script="read-v1.py").stdout


def test_later_versions_are_refused_as_before(reader: ModuleType, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", "weights", reader.unpack_planes(stored("weights"), EXPECTED["weights"][0]))
    manifest = store / NAME / "manifest.json"
    text = manifest.read_bytes().replace(b'"version": 2', b'"version": 3', 1)
    manifest.write_bytes(text[:-13] + b'%08x"}\n}\n' % zlib.crc32(text[:-13]))
    assert "format version 3 needs a later reader" in run(store, "verify").stdout
    manifest.write_bytes(text)
    assert "does not match its CRC-32" in run(store, "verify").stdout


@pytest.mark.parametrize("chunk", sorted(EXPECTED))
def test_hostile_bytes_are_refused_or_decoded_to_the_stated_length(reader: ModuleType, chunk: str) -> None:
    size, _ = EXPECTED[chunk]
    good = stored(chunk)
    dice = random.Random(chunk)
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(dice.randint(1, 3)):
            bad[dice.randrange(min(len(bad), dice.choice((60, len(bad)))))] = dice.randrange(256)
        cut = bytes(bad[: dice.randrange(len(bad))] if dice.randrange(5) == 0 else bad)
        try:
            assert len(reader.unpack_planes(cut, size)) == size
        except (ValueError, IndexError, struct.error):
            pass


def frame_of(block: bytes, size: int) -> bytes:
    """A literals frame of one compressed block."""
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", size) + (len(block) << 3 | 5).to_bytes(3, "little") + block


def test_literals_that_are_not_coded(reader: ModuleType) -> None:
    assert reader.unpack_literals(frame_of(b"\x28hello\0", 5), 5) == b"hello"
    assert reader.unpack_literals(frame_of(b"\x29h\0", 5), 5) == b"hhhhh"
    assert reader.unpack_literals(frame_of(b"\x15\x03h\0", 49), 49) == b"h" * 49
    for wrong in (b"\x28hell\0", b"\x28hello\1", b"\x30hello\0", b"\x2bhello\0"):
        with pytest.raises(ValueError):
            reader.unpack_literals(frame_of(wrong, 5), 5)


def test_codec_2_under_version_1_is_damage(reader: ModuleType, tmp_path: Path) -> None:
    raw = reader.unpack_planes(stored("weights"), EXPECTED["weights"][0])
    done = run(make_store(tmp_path / "store", "weights", raw, version=1), "verify")
    assert done.returncode == 1 and f"{NAME} BAD: ValueError: chunk 0 is of no known kind" in done.stdout, done.stdout


def test_a_rank_does_not_say_its_version_itself(reader: ModuleType, tmp_path: Path) -> None:
    raw = reader.unpack_planes(stored("weights"), EXPECTED["weights"][0])
    store = make_store(tmp_path / "store", "weights", raw, version=1)
    manifest = store / NAME / "manifest.json"
    text = manifest.read_bytes().replace(b'"ranks": [{', b'"ranks": [{"version": 2, ', 1)
    manifest.write_bytes(text[:-13] + b'%08x"}\n}\n' % zlib.crc32(text[:-13]))
    assert run(store, "verify").returncode == 1


def test_no_nibble_stands_behind_the_last(reader: ModuleType) -> None:
    """As the decoder of the program: seven bytes above 0x70, one of them an escape."""
    good = bytes([0x70, 0xAA, 0x31, 0x4F, 0x52, 0x06])
    assert reader.unpack_nibbles(good, 7) == bytes([0x71, 0xAA, 0x72, 0x76, 0x73, 0x74, 0x75])
    with pytest.raises(ValueError):
        reader.unpack_nibbles(good[:-1] + b"\x16", 7)


def in_four_streams(length: int) -> bytes:
    """200 times the byte 0, and `length` bytes of 0 in four streams of one bit a byte."""
    quarter = (length + 3) // 4
    streams = bytes(1 << bits for bits in (quarter, quarter, quarter, max(0, length - 3 * quarter)))
    coded = bytes([128, 0x10]) + b"\1\0" * 3 + streams
    block = (len(coded) << 14 | length << 4 | 1 << 2 | 2).to_bytes(3, "little") + coded + b"\0"
    blocks = (200 << 3 | 2).to_bytes(3, "little") + b"\0" + (len(block) << 3 | 5).to_bytes(3, "little") + block
    return b"\x28\xb5\x2f\xfd\x20" + bytes([200 + length]) + blocks


@pytest.mark.parametrize("length", range(20))
def test_four_streams_hold_six_bytes_at_least(reader: ModuleType, length: int) -> None:
    if length >= 6:
        assert reader.unpack_literals(in_four_streams(length), 200 + length) == bytes(200 + length)
    else:
        with pytest.raises(ValueError):
            reader.unpack_literals(in_four_streams(length), 200 + length)


def test_window_and_lengths_are_those_of_the_page(reader: ModuleType) -> None:
    def frame(window: int, kind: int, size: int, block: bytes) -> bytes:
        header = b"\x28\xb5\x2f\xfd\x80" + bytes([window]) + struct.pack("<I", size)
        return header + (size << 3 | kind << 1 | 1).to_bytes(3, "little") + block

    most = 131072
    assert reader.unpack_literals(frame(56, 0, most, bytes(most)), most) == bytes(most)
    assert reader.unpack_literals(frame(56, 1, most, b"x"), most) == b"x" * most
    for window, kind, size, block in ((57, 0, 9, bytes(9)), (0, 1, 9, b"x"), (56, 0, most + 1, bytes(most + 1)), (56, 1, most + 1, b"x")):
        with pytest.raises(ValueError):
            reader.unpack_literals(frame(window, kind, size, block), size)


def test_a_tree_by_hand(reader: ModuleType) -> None:
    """Weights 2 and 1, the implied one 1: codes 1, 00 and 01. Four symbols are 1 00 01 1, read from the top below the end mark."""
    tree = bytes([127 + 2, 0x21])
    block = (2 | 4 << 4 | (len(tree) + 1) << 14).to_bytes(3, "little") + tree + bytes([0b1100011]) + b"\0"
    assert reader.unpack_literals(frame_of(block, 4), 4) == bytes([0, 1, 2, 0])
