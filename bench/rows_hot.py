"""A restore from the memory that a killed trainer left, against copying and hashing as much memory in the same run."""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import torch

from figures import Missing, Outcome, Row, columns
from rows_fake import built
from workload import Training

ROUNDS_AT_MOST = 5
REST_TIMEOUT_SECONDS = 300.0
REST_POLL_SECONDS = 0.2
READER_THREADS_AT_MOST = 8  # as the library has it: one per core, at most eight
CHUNK_BYTES = 1 << 20

KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import stillframe
import torch
from workload import Training
torch.set_num_threads(1)
training = Training(float(sys.argv[3]))
checkpointer = stillframe.Checkpointer(sys.argv[2], model=training.model, optimizer=training.optimizer)
ticket = checkpointer.snapshot(1)
checkpointer.fence()
ticket.wait_captured(120.0)
print("captured", flush=True)
sys.stdin.read()
"""


def hot_restore(args: argparse.Namespace, folder: Path) -> Outcome:
    """Every round a trainer is killed with its snapshot captured, and a process that is there already takes it over."""
    torch.set_num_threads(args.threads)
    training = Training(args.megabytes)
    outcome = Outcome(raw={"state_bytes": training.state_bytes(), "reader_threads": reader_threads()})
    raw = outcome.raw
    raw["rounds"] = [one_round(training, folder / f"store-{number}", args.megabytes)
                     for number in range(min(args.rounds, ROUNDS_AT_MOST))]  # fmt: skip
    raw["seconds"] = columns(raw["rounds"])
    medians = {name: summary["median"] for name, summary in raw["seconds"].items()}
    first = medians["first_tensor_seconds"]
    outcome.rows.append(Row(
        "hot restore after kill -9, first tensor", "<= 5 ms after the call, in a started process", f"{first * 1e3:.2g} ms",
        first <= 0.005, f"a tensor of {raw['rounds'][0]['first_tensor_bytes'] / 1e6:.1f} MB out of "
        f"{raw['state_bytes'] / 1e6:.0f} MB",
    ))  # fmt: skip
    speeds = {name: raw["state_bytes"] / seconds / 1e9 for name, seconds in medians.items() if name.endswith("_seconds")}
    restored = speeds["restore_seconds"]
    for name, where in (("hash_and_copy", "memory in use"), ("hash_and_copy_anew", "memory as new as the restore's")):
        ceiling = speeds[f"{name}_seconds"]
        outcome.rows.append(Row(
            f"hot restore after kill -9, {raw['state_bytes'] / 1e6:.0f} MB", f">= 90 % of memcpy + hash into {where}",
            f"{restored / ceiling:.0%}", restored >= 0.9 * ceiling,
            f"{restored:.2f} GB/s; with {raw['reader_threads']} threads memcpy + hash {ceiling:.2f} GB/s, memcpy into memory in "
            f"use {speeds['copy_seconds']:.2f} GB/s",
        ))  # fmt: skip
    return outcome


def reader_threads() -> int:
    return min(READER_THREADS_AT_MOST, os.cpu_count() or 1)


def one_round(training: Training, store: Path, megabytes: float) -> Dict[str, float]:
    leave_an_image(store, megabytes)
    return {**first_tensor(store, training), **whole(store, training), **ceilings(training)}


def leave_an_image(store: Path, megabytes: float) -> None:
    """Of a trainer that is killed; the daemon has ended what it does with it."""
    command = [sys.executable, "-B", "-c", KILLED, str(Path(__file__).resolve().parent), str(store), str(megabytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        said = trainer.stdout.readline()
        trainer.send_signal(signal.SIGKILL)
    if said.strip() != "captured":
        raise Missing("the trainer that was to be killed captured nothing; its words stand above")
    give_up = time.monotonic() + REST_TIMEOUT_SECONDS
    while not at_rest(store):
        if time.monotonic() > give_up:
            raise Missing("the daemon did not end the dead trainer's snapshot in time")
        time.sleep(REST_POLL_SECONDS)


def at_rest(store: Path) -> bool:
    done = subprocess.run([str(built("src", "apps", "stillframe")), "status", str(store), "--json"], stdout=subprocess.PIPE,
                          text=True, timeout=60, check=True)  # fmt: skip
    sessions: List[Dict[str, Any]] = json.loads(done.stdout)["sessions"]
    return any(not one["alive"] and one["persisting"] == "idle" for one in sessions)


def first_tensor(store: Path, training: Training) -> Dict[str, float]:
    """The first entry of the image, from the question whether there is an image on."""
    with new_checkpointer(store, training) as checkpointer:
        tensor = torch.empty_like(training.tensors()[0])
        begun = time.perf_counter()
        with checkpointer._client.hot_reader(0, 60.0) as reader:
            candidate = reader.candidate()
            reader.read(candidate, {next(iter(candidate.entries)): tensor})
        return {"first_tensor_seconds": time.perf_counter() - begun, "first_tensor_bytes": float(tensor.nbytes)}


def whole(store: Path, training: Training) -> Dict[str, float]:
    with new_checkpointer(store, training) as checkpointer:
        begun = time.perf_counter()
        restored = checkpointer.restore()
        seconds = time.perf_counter() - begun
    if restored is None or restored.source != "memory":
        raise Missing("the image was not in the daemon's memory any more")
    return {"restore_seconds": seconds}


def new_checkpointer(store: Path, training: Training) -> Any:
    import stillframe

    return stillframe.Checkpointer(store, model=training.model, optimizer=training.optimizer)


def ceilings(training: Training) -> Dict[str, float]:
    """As much memory copied, and hashed and copied chunk by chunk, by as many threads as a restore has: into memory that is
    in use, and with memory made anew for all but the parameters, as a started process has it."""
    try:
        hashes: Any = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    except OSError:
        raise Missing("libxxhash.so.0 is not there: it is in the package libxxhash0") from None
    hashes.argtypes, hashes.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_uint64
    used = training.tensors()
    sources = [tensor.clone() for tensor in used]
    kept = {parameter.data_ptr() for parameter in training.model.parameters()}

    def move(to: List[torch.Tensor], begin: int, hashed: bool) -> None:
        pieces = ((tensor.data_ptr() + at, of.data_ptr() + at, min(CHUNK_BYTES, of.nbytes - at))
                  for tensor, of in zip(to, sources) for at in range(0, of.nbytes, CHUNK_BYTES))  # fmt: skip
        for target, source, size in itertools.islice(pieces, begin, None, reader_threads()):
            if hashed:
                hashes(source, size)
            ctypes.memmove(target, source, size)

    found: Dict[str, float] = {}
    with ThreadPoolExecutor(reader_threads()) as pool:
        for name, hashed, anew in (("copy", False, False), ("hash_and_copy", True, False), ("hash_and_copy_anew", True, True)):
            begun = time.perf_counter()
            to = [torch.empty_like(one) if anew and one.data_ptr() not in kept else one for one in used]
            list(pool.map(lambda begin, to=to, hashed=hashed: move(to, begin, hashed), range(reader_threads())))
            found[f"{name}_seconds"] = time.perf_counter() - begun
    return found
