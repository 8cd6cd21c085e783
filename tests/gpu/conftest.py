"""Finds the helpers of the Python tests, and the package when it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PYTHON = Path(__file__).resolve().parents[2] / "python"
sys.path.insert(0, str(_PYTHON / "tests"))
if importlib.util.find_spec("stillframe") is None:
    sys.path.insert(0, str(_PYTHON))
