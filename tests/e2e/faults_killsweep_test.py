"""scripts/killsweep as CI runs it; by hand it takes more (`scripts/killsweep --count 1000`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from faults_rig import ROOT

KILLS = int(os.environ.get("STILLFRAME_KILLS", "200"))


def test_nothing_acknowledged_is_lost_whoever_is_killed_and_when() -> None:
    command = [sys.executable, "-B", str(ROOT / "scripts/killsweep_main.py"), "--count", str(KILLS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["count"] == KILLS and not figures["failures"]
    assert not [row for row in figures["points"] if row["lost"]]
    # A sweep that never hits what it aims at shows nothing.
    missed = [row["point"] for row in figures["points"] if row["in_phase"] == 0 and row["kills"] > 5]
    assert not missed, figures["points"]
