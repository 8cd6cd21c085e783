"""Damage and trickery, found through the installed command line and through Python: the checkpoint before is restored, and
the reason says which file. Nothing is followed out of the store, and nothing is handed out that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest
import torch

import stillframe
from faults_rig import PATIENCE_SECONDS, environment, program

ELEMENTS = 700_000  # three chunks
FOREIGN_USER = 54_321
Damage = Callable[[Path, Path], str]  # (the newest checkpoint, the one before) -> what the reason must name


class Model(torch.nn.Module):
    """Its every value follows from the step."""

    def __init__(self, step: int = 0) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.empty(ELEMENTS))
        self.set(step)

    def set(self, step: int) -> None:
        with torch.no_grad():
            self.w.copy_(torch.arange(ELEMENTS, dtype=torch.float32) + step)

    def is_at(self, step: int) -> bool:
        return torch.equal(self.w, Model(step).w)


def level_config(folder: Path, level: str) -> str:
    config = folder / "stillframed.toml"
    config.write_text(f'[persist]\nlevel = "{level}"\n')
    return str(config)


@pytest.fixture(scope="module", params=["default", "raw"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with steps 1 and 2, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder / "run").items():
            patch.setenv(name, value)
        model, config = Model(), level_config(folder, request.param)
        with stillframe.Checkpointer(folder / "store", model=model, daemon_config=config) as ckpt:
            for step in (1, 2):
                model.set(step)
                assert ckpt.snapshot(step, wait=True).wait_durable(PATIENCE_SECONDS)
                ckpt.fence()
    yield folder / "store"


@pytest.fixture
def store(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "store"))


def checkpoints(store: Path) -> List[Path]:
    """Newest first."""
    return sorted((path for path in store.iterdir() if path.is_dir() and path.name[:6].isdigit()), reverse=True)


def data_of(checkpoint: Path) -> Path:
    (found,) = [path for path in checkpoint.iterdir() if path.suffix in (".data", ".safetensors")]
    return found


def rewrite(path: Path, raw: bytes) -> None:
    path.unlink()
    path.write_bytes(raw)


def flip(path: Path, at: int) -> str:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x20
    rewrite(path, bytes(raw))
    return path.name


def cut(path: Path) -> str:
    rewrite(path, path.read_bytes()[:-1])
    return path.name


def exchange_pieces(newest: Path, before: Path) -> str:
    data = data_of(newest)
    raw = data.read_bytes()
    size = len(raw) // 4
    rewrite(data, raw[: -2 * size] + raw[-size:] + raw[-2 * size : -size])
    return data.name


def replay_data(newest: Path, before: Path) -> str:
    raw, stale = data_of(newest).read_bytes(), data_of(before).read_bytes()
    rewrite(data_of(newest), (stale + raw[len(stale) :])[: len(raw)])
    return data_of(newest).name


def replay_everything(newest: Path, before: Path) -> str:
    for path in before.iterdir():
        if path.name != "verified":
            shutil.copy(path, newest / path.name)
    return "manifest.json"


def exchange_names(newest: Path, before: Path) -> str:
    data, table = data_of(newest), newest / "rank-00000.table"
    data.rename(newest / "other")
    table.rename(data)
    (newest / "other").rename(table)
    return table.name


def link_out(file: str) -> Damage:
    """The file is elsewhere, and a symbolic link stands in its place: the bytes are right, the place is not."""

    def damage(newest: Path, before: Path) -> str:
        victim = data_of(newest) if file == "data" else newest / file
        elsewhere = newest.parent.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        victim.rename(elsewhere / victim.name)
        victim.symlink_to(elsewhere / victim.name)
        return victim.name

    return damage


def link_checkpoint_out(newest: Path, before: Path) -> str:
    elsewhere = newest.parent.parent / "elsewhere"
    newest.rename(elsewhere)
    newest.symlink_to(elsewhere)
    return newest.name


def give_away(file: str) -> Damage:
    def damage(newest: Path, before: Path) -> str:
        if os.geteuid() != 0:
            pytest.skip("giving a file to another user needs root")
        victim = {"data": data_of(newest), "": newest}.get(file, newest / file)
        os.chown(victim, FOREIGN_USER, FOREIGN_USER)
        return victim.name

    return damage


def pipe(newest: Path, before: Path) -> str:
    """A reader that opened it would wait for ever."""
    table = newest / "rank-00000.table"
    table.unlink()
    os.mkfifo(table)
    return table.name


def directory(newest: Path, before: Path) -> str:
    data = data_of(newest)
    data.unlink()
    data.mkdir()
    return data.name


DAMAGES: Dict[str, Damage] = {
    "a flipped byte of the manifest": lambda newest, before: flip(newest / "manifest.json", 200),
    "a flipped byte of the table": lambda newest, before: flip(newest / "rank-00000.table", 100),
    "a flipped byte at the start of the data": lambda newest, before: flip(data_of(newest), 9),
    "a flipped byte in the data": lambda newest, before: flip(data_of(newest), data_of(newest).stat().st_size // 2),
    "a flipped byte at the end of the data": lambda newest, before: flip(data_of(newest), -1),
    "a truncated manifest": lambda newest, before: cut(newest / "manifest.json"),
    "a truncated table": lambda newest, before: cut(newest / "rank-00000.table"),
    "truncated data": lambda newest, before: cut(data_of(newest)),
    "two pieces of the data exchanged": exchange_pieces,
    "data of the checkpoint before": replay_data,
    "every file of the checkpoint before": replay_everything,
    "data and table under each other's name": exchange_names,
    "a symbolic link instead of the manifest": link_out("manifest.json"),
    "a symbolic link instead of the table": link_out("rank-00000.table"),
    "a symbolic link instead of the data": link_out("data"),
    "a symbolic link instead of the checkpoint": link_checkpoint_out,
    "a manifest of another user": give_away("manifest.json"),
    "data of another user": give_away("data"),
    "a checkpoint of another user": give_away(""),
    "a pipe instead of the table": pipe,
    "a directory instead of the data": directory,
}


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program("stillframe"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE_SECONDS, check=False)  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_it_is_found_and_named_and_the_one_before_is_restored(store: Path, kind: str, tmp_path: Path) -> None:
    newest, before = checkpoints(store)
    mention = DAMAGES[kind](newest, before)

    verified = command("verify", store, "--all")
    assert verified.returncode not in (0, -11, -6) and mention in verified.stdout + verified.stderr, verified
    with pytest.warns(RuntimeWarning, match="passed over") as caught:
        loaded = stillframe.load(store)
    assert torch.equal(loaded["model"]["w"], Model(1).w)
    assert any(mention in str(item.message) and newest.name in str(item.message) for item in caught), str(caught[0].message)
    exported = command("restore", store, tmp_path / "out")
    assert exported.returncode == 0 and (tmp_path / "out" / "rank-00000.safetensors").is_file(), exported
    assert before.name in exported.stdout + exported.stderr and mention in exported.stdout + exported.stderr, exported


def test_a_second_hard_link_is_no_fault(store: Path, tmp_path: Path) -> None:
    for path in checkpoints(store)[0].iterdir():
        os.link(path, tmp_path / path.name)
    assert command("verify", store, "--all").returncode == 0
    assert torch.equal(stillframe.load(store)["model"]["w"], Model(2).w)


@pytest.mark.parametrize("kind", ["a flipped byte in the data", "a truncated table", "a symbolic link instead of the data",
                                  "data of another user", "every file of the checkpoint before"])  # fmt: skip
def test_training_goes_on_from_the_one_before(
    store: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    for name, value in environment(tmp_path / "run").items():
        monkeypatch.setenv(name, value)
    newest, before = checkpoints(store)
    mention = DAMAGES[kind](newest, before)
    model = Model()
    with stillframe.Checkpointer(store, model=model) as ckpt:
        with pytest.warns(RuntimeWarning, match=f"passed over {newest.name}"):
            restored = ckpt.restore()
        assert restored is not None and restored.step == 1 and model.is_at(1)
        (skipped,) = restored.skipped
        assert skipped.name == newest.name and mention in skipped.reason
        model.set(3)
        assert ckpt.snapshot(3, wait=True).wait_durable(PATIENCE_SECONDS)
    assert torch.equal(stillframe.load(store)["model"]["w"], Model(3).w)
