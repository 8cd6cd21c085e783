"""Finds the tests' own helpers, and the package when it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))
if importlib.util.find_spec("stillframe") is None:
    sys.path.insert(0, str(_HERE.parent))


@pytest.fixture(scope="session")
def library() -> None:
    """Fails, not skips, when the C library is missing: a suite that ran without it has shown nothing."""
    from stillframe import _abi

    try:
        _abi.library()
    except ImportError as error:
        pytest.fail(f"{error}; set {_abi.LIBRARY_VARIABLE} to a built libstillframe.so", pytrace=False)
