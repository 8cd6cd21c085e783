"""The examples in every --help are run as they stand, in a directory where their store and daemon exist."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from cli_test import COMMANDS, make_store, program, run, stillframe_json

SERVICE_SOCKET = "/run/stillframe/stillframed.sock"  # as the examples have it; one of the test stands for it


def examples(name: str, *command: str) -> List[str]:
    """The indented lines under "Example:" or "Examples:" that begin with the program's name."""
    done = subprocess.run([program(name), *command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    _, _, below = re.split(r"^(Examples?:)$", done.stdout, maxsplit=1, flags=re.M)
    found = [line.strip() for line in below.splitlines() if line.startswith(f"  {name} ")]
    assert found, f"{name} {command}: no example\n{done.stdout}"
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_store(tmp_path / "runs" / "gpt", "--count", 3)
    return tmp_path


@pytest.fixture
def environment() -> Iterator[Dict[str, str]]:
    """Programs of this build first on PATH, and a runtime directory whose sockets have short names."""
    with tempfile.TemporaryDirectory(prefix="sf-help-") as runtime:
        path = f"{os.path.dirname(program('stillframe'))}:{os.environ['PATH']}"
        yield {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": runtime}


@contextlib.contextmanager
def daemon_at(socket: str) -> Iterator[None]:
    run("stillframed", "--daemon-socket", socket, "--arena-budget-bytes", 1 << 26, "--detach")
    pid = stillframe_json("status", "--socket", socket)["daemon"]["pid"]
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_example_of_the_help_works(folder: Path, environment: Dict[str, str], command: Optional[str]) -> None:
    def shell(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=folder, env=environment,
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip

    # The daemon that a trainer of this store would have started: where it listens, the refusal says.
    refused = shell("stillframe status runs/gpt")
    assert refused.returncode == 6, refused.stderr
    own_socket = re.search(r"no daemon answers at (\S+\.sock)", refused.stderr)
    assert own_socket, refused.stderr
    service = f"{environment['XDG_RUNTIME_DIR']}/service.sock"
    with daemon_at(own_socket[1]), daemon_at(service):
        for line in examples("stillframe", *([command] if command else [])):
            here = line.replace("/tmp/weights", str(folder / "weights")).replace(SERVICE_SOCKET, service)
            done = shell(here)
            equal_or_not = (0, 1) if command == "diff" else (0,)
            assert done.returncode in equal_or_not, f"{here}\n{done.stdout}\n{done.stderr}"
            assert done.stdout
            if "--json" in here:
                json.loads(done.stdout)


def test_every_example_of_the_daemon_starts_one(folder: Path, environment: Dict[str, str]) -> None:
    config = folder / "stillframed.toml"
    config.write_text(f"[daemon]\nsocket = '{environment['XDG_RUNTIME_DIR']}/of-config.sock'\n")
    lines = examples("stillframed")
    for number, line in enumerate(lines):
        socket = f"{environment['XDG_RUNTIME_DIR']}/{number}.sock"
        here = re.sub(r"/\S+\.sock", socket, re.sub(r"/\S+\.toml", str(config), line))
        if "--config" in line:
            socket = f"{environment['XDG_RUNTIME_DIR']}/of-config.sock"
        words = shlex.split(here)
        assert words.pop(0) == "stillframed"
        run("stillframed", *words, *([] if "--detach" in words else ["--detach"]))
        os.kill(stillframe_json("status", "--socket", socket)["daemon"]["pid"], signal.SIGTERM)
