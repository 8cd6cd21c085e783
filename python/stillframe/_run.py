"""Console entry points: the packaged programs `stillframe` and `stillframed`, in place of this process."""

from __future__ import annotations

import os
import sys

from ._abi import packaged


def _become(name: str) -> int:
    program = packaged("bin", name)
    try:
        os.execv(program, [name, *sys.argv[1:]])
    except OSError as error:
        print(f"{name}: cannot run {program}: {error.strerror}; pip install stillframe again", file=sys.stderr)
    return 127


def stillframe() -> int:
    return _become("stillframe")


def stillframed() -> int:
    return _become("stillframed")
