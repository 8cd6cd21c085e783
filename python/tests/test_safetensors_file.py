"""Checkpoints in other people's hands: the safetensors package opens what was written uncompressed, and what the reader in
the store extracts from an encoded one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest
import safetensors
import safetensors.torch
import torch

import stillframe

# What safetensors knows, by torch's names.
_DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16", "int8",
           "uint64", "uint32", "uint16", "uint8", "bool", "complex64")


def _tensors() -> Dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    tensors: Dict[str, torch.Tensor] = {}
    for name in _DTYPES:
        dtype = getattr(torch, name)
        raw = torch.randint(0, 2 if name == "bool" else 256, (3, 5, dtype.itemsize * 7), dtype=torch.uint8, generator=generator)
        tensors[name] = raw.view(dtype)
        tensors[f"wide.{name}"] = _trained(dtype, generator)
    tensors["larger"] = torch.randn(700, 900, generator=generator)  # of three chunks
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.empty(0, 4)
    return tensors


def _trained(dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """What gets smaller: small values, as weights and counters are."""
    small = 0.02 * torch.randn(120, 170, generator=generator)
    return small.to(dtype) if dtype.is_floating_point or dtype.is_complex else (small * 500).abs().to(dtype)


def _save(store: Path, level: str) -> Path:
    """The directory of the checkpoint."""
    config = store.parent / "daemon.toml"
    config.write_text(f'[persist]\nlevel = "{level}"\n', encoding="utf-8")
    with stillframe.Checkpointer(store, daemon_config=str(config)) as ckpt:
        ticket = ckpt.snapshot(1, state=_tensors())
        assert ticket.wait_durable(60)
        return store / ticket.name


def _same_bytes(found: Dict[str, torch.Tensor], expected: Dict[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        same = torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
        assert same, name


def test_the_data_file_of_an_uncompressed_checkpoint_opens_with_safetensors(tmp_path: Path) -> None:
    (data,) = _save(tmp_path / "store", "raw").glob("*.safetensors")
    _same_bytes(safetensors.torch.load_file(data), _tensors())
    assert json.loads((data.parent / "manifest.json").read_bytes())["version"] == 1
    with safetensors.safe_open(data, framework="pt") as opened:
        assert opened.metadata()["stillframe.step"] == "1"
        assert opened.get_slice("larger")[699, 890:].tolist() == _tensors()["larger"][699, 890:].tolist()


@pytest.mark.parametrize(("level", "version"), [("raw", 1), ("fast", 2), ("default", 2)])
def test_what_the_reader_in_the_store_extracts_opens_with_safetensors(level: str, version: int, tmp_path: Path) -> None:
    checkpoint = _save(tmp_path / "store", level)
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    assert manifest["version"] == version
    assert (manifest["stored_bytes"] < 0.93 * manifest["raw_bytes"]) is (version == 2)
    assert bool(list(checkpoint.glob("*.safetensors"))) is (level == "raw")
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-I", "-S", str(tmp_path / "store" / "read-v2.py"), "extract", checkpoint.name, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    _same_bytes(safetensors.torch.load_file(out), _tensors())
