"""The reader that lies in every store, against manifests and chunks that somebody made with bad intentions."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, List

import pytest

from test_store_reader import MIB, checkpoints, copied, reader, reseal, run

__all__ = ["reader"]  # a fixture


@pytest.mark.parametrize(
    "before, after",
    [
        ('"image_bytes": 13001', '"image_bytes": 9223372036854775808'),
        ('"image_bytes": 13001', '"image_bytes": -1'),
        ('"rank": 0', '"rank": "../../etc"'),
        ('"shared": []', '"shared": [{"file": "/etc/passwd", "bytes": 1, "from": "x"}]'),
        ('"shape": [1000], "offset": 4000', '"shape": [-1], "offset": 4000'),
        ('"bytes": 4000', '"bytes": 9223372036854775808'),
        ('"offset": 4000', '"offset": -8'),
        ('"metrics": {}', '"metrics": ' + "[" * 100_000 + "]" * 100_000),
        ('"sequence": 1', '"sequence": ' + "1" * 5000),
        ('"format": "stillframe"', '"format": "other"'),
    ],
)
def test_hostile_manifests_end_in_an_error(tmp_path: Path, before: str, after: str) -> None:
    store = copied("planes-lz4", tmp_path)
    (name,) = checkpoints(store)
    reseal(store / name / "manifest.json", before, after)
    target = tmp_path / "out.safetensors"
    done = run(store, "extract", name, str(target))
    if '"shape"' in before:  # a shape is only a label here: what is written is what the entry's bytes say
        assert done.returncode == 0
        return
    assert done.returncode == 1 and done.stderr.startswith("read-v1.py: ") and not target.exists()


def hostile_rank(reader: ModuleType, tmp_path: Path, records: List[bytes], data: bytes) -> Any:
    """A rank of whole chunks under a right checksum, whatever its records say."""
    size = MIB * len(records)
    header = struct.pack("<8sIIQQI", b"SFTABLE", 1, 64, len(records), size, MIB)
    table = b"".join(block.ljust(64, b"\0") for block in [header, *records])
    (tmp_path / "rank-00000.table").write_bytes(table)
    (tmp_path / "rank-00000.data").write_bytes(data)
    info = {"rank": 0, "image_bytes": size, "entries": [], "shared": [], "data": {"bytes": len(data), "start": 0},
            "table": {"bytes": len(table), "crc32": "%08x" % zlib.crc32(table)}}
    return reader.Rank(str(tmp_path), info, {})


PIECES_OF_ITSELF = struct.pack("<QIB3x", 0, MIB, 0)
PLANES = struct.pack("<HIBBI", 1, MIB, 1, 1, 6) + b"\x00\x01\x00\xff\xff\xff"
PLANES_OF_4_GIB = struct.pack("<HIBBI", 1, 0xFFFFFFFF, 1, 1, 6) + b"\x00\x01\x00\xff\xff\xff"


@pytest.mark.parametrize(
    "location, codec, data",
    [(3, 0, PIECES_OF_ITSELF), (3, 0, b"short"), (0, 1, PLANES), (0, 1, PLANES_OF_4_GIB),
     (0, 1, b""), (0, 1, b"\xff\xff"), (0, 2, b"x"), (2, 0, b"x"), (4, 0, b"x"), (0, 0, b"x")],
)
def test_hostile_chunks_end_in_an_error(
    reader: ModuleType, tmp_path: Path, location: int, codec: int, data: bytes
) -> None:
    record = struct.pack("<BBHIIIQ", location, codec, 0, MIB, len(data), 0, 0)
    rank = hostile_rank(reader, tmp_path, [record], data)
    with pytest.raises(Exception) as raised:
        list(rank.read(0, MIB))
    assert not isinstance(raised.value, (MemoryError, RecursionError))
    for file in rank.files:
        file.close()


def test_a_derived_chunk_takes_no_more_memory_than_it_has_bytes(reader: ModuleType, tmp_path: Path) -> None:
    pieces = struct.pack("<QIB3x", 0, MIB, 0) * 200
    zeros = struct.pack("<BBHIIIQ", 1, 0, 0, MIB, 0, zlib.crc32(bytes(MIB)), 0)
    rank = hostile_rank(reader, tmp_path, [zeros, struct.pack("<BBHIIIQ", 3, 0, 0, MIB, len(pieces), 0, 0)], pieces)
    tracemalloc.start()
    with pytest.raises(ValueError):
        list(rank.read(MIB, 2 * MIB))
    assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    tracemalloc.stop()
    for file in rank.files:
        file.close()


def test_each_source_of_a_derived_chunk_is_read_once(reader: ModuleType, tmp_path: Path) -> None:
    sources, piece_bytes = 32, 256
    count = MIB // piece_bytes
    pieces = b"".join(struct.pack("<QIB3x", i % sources * MIB, piece_bytes, 0) for i in range(count))
    zeros = struct.pack("<BBHIIIQ", 1, 0, 0, MIB, 0, zlib.crc32(bytes(MIB)), 0)
    derived = struct.pack("<BBHIIIQ", 3, 0, 0, MIB, len(pieces), zlib.crc32(bytes(MIB)), 0)
    rank = hostile_rank(reader, tmp_path, [*[zeros] * sources, derived], pieces)
    assert list(rank.read(sources * MIB, (sources + 1) * MIB)) == [bytes(MIB)]
    assert rank.chunk.cache_info().misses == sources + 1
    for file in rank.files:
        file.close()
