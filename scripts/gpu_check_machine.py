"""Which GPU, driver, torch and pytest a machine has."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Dict, Optional

from gpu_check_bundle import Bundle

NO_GPU_EXIT_CODE = 77  # of gpu_figures
TIMEOUT_SECONDS = 120.0
PYTEST = "import pytest; print(pytest.__version__)"
TORCH = "import torch; print(torch.__version__, torch.cuda.is_available())"


class NoGpu(Exception):
    """There is none; the text says what was looked for."""


@dataclass(frozen=True)
class Machine:
    gpu: str
    driver: str
    torch: Optional[str]  # its version; None when there is none
    torch_sees_gpu: bool
    pytest: Optional[str]
    device: int
    bundle: Bundle


def look(bundle: Bundle, device: int) -> Optional[Machine]:
    """None when there may be a GPU and the bundle lacks the program that asks it. Raises NoGpu."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise NoGpu(f"this machine has no GPU: NVIDIA's driver cannot be loaded ({error})") from error
    program = bundle.program("gpu_figures")
    if program is None:
        return None
    asked = subprocess.run([str(program), "facts", "--device", str(device)], capture_output=True, text=True,
                           timeout=TIMEOUT_SECONDS, check=False)  # fmt: skip
    if asked.returncode == NO_GPU_EXIT_CODE:
        raise NoGpu(f"this machine has no GPU: {asked.stderr.strip()}")
    if asked.returncode != 0:
        raise SystemExit(f"gpu_check: GPU {device} does not answer: {asked.stderr.strip()}")
    facts = json.loads(asked.stdout)
    smi = driver_of_listing(smi_listing(), device)
    cuda = cuda_name(int(facts["cuda_version"]))
    version, sees = torch_facts(torch_answer())
    tester = pytest_version(bundle.environment())
    return Machine(str(facts["gpu"]), f"{smi}, {cuda}" if smi else cuda, version, sees, tester, device, bundle)


def cuda_name(version: int) -> str:
    """As the driver says it: 1000 * major + 10 * minor."""
    return f"CUDA {version // 1000}.{version % 1000 // 10}"


def smi_listing() -> str:
    """What nvidia-smi says of each GPU, one a line; empty where there is no nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=index,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def driver_of_listing(listing: str, device: int) -> Optional[str]:
    for line in listing.splitlines():
        index, _, version = line.partition(",")
        if index.strip() == str(device) and version.strip()[:1].isdigit():
            return version.strip()
    return None


def torch_answer() -> str:
    """Empty when this Python has no torch."""
    done = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    return done.stdout if done.returncode == 0 else ""


def torch_facts(answer: str) -> "tuple[Optional[str], bool]":
    words = answer.split()
    return (words[0], words[1] == "True") if len(words) == 2 else (None, False)


def pytest_version(environment: Dict[str, str]) -> Optional[str]:
    """None when this Python has none in that environment, which is the one that the tests get."""
    done = subprocess.run([sys.executable, "-c", PYTEST], env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
                          check=False)  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else None
