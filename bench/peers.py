"""What Stillframe is compared with: torch.save + fsync, and async_save of torch.distributed.checkpoint."""

from __future__ import annotations

import itertools
import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Tuple

import torch

from figures import Missing

WRITE_TIMEOUT_SECONDS = 300.0


class Training(Protocol):
    """What is saved."""

    def settle(self) -> None: ...

    def state(self) -> Dict[str, Any]: ...


def torch_save(training: Training, path: Path) -> Dict[str, float]:
    """Host time of a save that is on the disk when it returns."""
    training.settle()
    begun = time.perf_counter()
    with open(path, "wb") as file:
        torch.save(training.state(), file)
        file.flush()
        saved = time.perf_counter()
        os.fsync(file.fileno())
    synced = time.perf_counter()
    path.unlink()
    return {"save_seconds": saved - begun, "fsync_seconds": synced - saved, "block_seconds": synced - begun}


class Staging(NamedTuple):
    """The flags of torch's StagingOptions."""

    pinned: bool = False
    shared: bool = False
    background: bool = False
    non_blocking: bool = False

    def __str__(self) -> str:
        return "+".join(name for name, used in zip(self._fields, self) if used) or "none"


def staging_variants() -> List[Staging]:
    """Every combination of the flags that this machine allows: pinned and non_blocking want an accelerator."""
    free = (False, True)
    gpu = free if torch.cuda.is_available() else (False,)
    return [Staging(*flags) for flags in itertools.product(gpu, free, free, gpu)]


def staging_named(name: str) -> Staging:
    words = [] if name == "none" else name.split("+")
    unknown = sorted(set(words) - set(Staging._fields))
    if unknown:
        raise ValueError(f"no staging flag is called {unknown[0]}; there are {', '.join(Staging._fields)}")
    chosen = Staging(**{word: True for word in words})
    if chosen not in staging_variants():
        raise ValueError(f"staging {chosen}: pinned and non_blocking want a GPU, and torch sees none")
    return chosen


class AsyncSave:
    """async_save with one stager that is kept, as its makers advise. One save at a time."""

    def __init__(self, staging: Staging, folder: Path) -> None:
        try:
            from torch.distributed.checkpoint.filesystem import FileSystemWriter
            from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
            from torch.distributed.checkpoint.state_dict_saver import async_save
        except ImportError as error:
            raise Missing(
                f"torch {torch.__version__} has no torch.distributed.checkpoint.staging ({error}): the rows against "
                "async_save need torch 2.9 or later, built with distributed"
            ) from error
        self._save, self._writer = async_save, FileSystemWriter
        # Its own threads say again and again that no process group is there.
        warnings.filterwarnings("ignore", category=UserWarning)
        self._stager = DefaultStager(StagingOptions(*staging))
        self._folder, self._count = folder, 0
        self._upload: Optional[Any] = None
        self._staged: Optional[Any] = None
        self._written: Optional[Path] = None

    def wait_for_previous_write(self) -> float:
        """async_save writes one checkpoint at a time: who calls it again waits for the one before."""
        begun = time.perf_counter()
        if self._upload is not None:
            self._upload.result(WRITE_TIMEOUT_SECONDS)
            self._upload = None
        waited = time.perf_counter() - begun
        if self._written is not None:
            shutil.rmtree(self._written, ignore_errors=True)
            self._written = None
        return waited

    def call(self, training: Training) -> float:
        """Host time of the call."""
        training.settle()
        self._count += 1
        self._written = self._folder / str(self._count)
        begun = time.perf_counter()
        answer = self._save(training.state(), storage_writer=self._writer(self._written), no_dist=True,
                            async_stager=self._stager)  # fmt: skip
        seconds = time.perf_counter() - begun
        self._staged, self._upload = _completions(answer)
        return seconds

    def wait_staged(self) -> float:
        """Before the state is changed in place; host time."""
        begun = time.perf_counter()
        if self._staged is not None:
            self._staged.result(WRITE_TIMEOUT_SECONDS)
            self._staged = None
        return time.perf_counter() - begun

    def close(self) -> None:
        self.wait_staged()
        self.wait_for_previous_write()
        self._stager.close()


def _completions(answer: Any) -> Tuple[Optional[Any], Any]:
    """(staged, written): the call itself has staged when it answers with one future."""
    if hasattr(answer, "upload_completion"):
        return answer.staging_completion, answer.upload_completion
    return None, answer
