"""A training loop on a GPU (the driver fake, tests/support/sweep/gpu_trainer.cpp) that dies in mid-copy, after byte k of
a snapshot has left the device, for k over the whole image: whoever comes next resumes what was captured, bit for bit.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

import pytest
from faults_rig import PATIENCE_SECONDS, environment, program

from demo_phases import Tail, parse_log_line
from killsweep_events import Happening, trainer_line
from killsweep_processes import Victim

CHUNK_BYTES = 1 << 20
# How often an image of the trainer's six chunks fits into the arena: more than twice, once, or not at all.
BUDGET_BYTES = {"double": 32 << 20, "single": 9 << 20, "ring": (6 << 20) + (256 << 10)}
# A chunk takes two milliseconds: whoever acknowledges a snapshot too early has the time to do so.
BYTES_PER_S = "500000000"
STEPS_OF_A_LIFE = 3
EVENLY_SPREAD_KILLS = 24
CASES = [("eager", "double"), ("adversarial", "double"), ("eager", "single"), ("adversarial", "ring")]


class Life(NamedTuple):
    """What one process left in the journal, and how it ended."""

    exit_code: int
    resumed: Optional[Happening]
    called: int
    captured: int
    happenings: List[Happening]
    errors: str

    def step_resumed(self) -> int:
        """-1 for none. Bit for bit, and of the newest checkpoint: none was passed over."""
        assert self.resumed is not None and self.resumed.words in ("equal", "none"), (self.resumed, self.errors)
        not_good = {"trainer.passed-over", "trainer.failed", "trainer.skipped"}
        assert not [one for one in self.happenings if one.name in not_good], self.happenings
        return -1 if self.resumed.step is None else self.resumed.step


class GpuRig:
    """gpu_trainer on a store, one life after the other, with the daemon that the first of them starts."""

    def __init__(self, folder: Path, arena: str) -> None:
        (folder / "run").mkdir(mode=0o700)
        self._log, toml, journal = folder / "daemon.log", folder / "daemon.toml", folder / "journal"
        toml.write_text(f'[log]\npath = "{self._log}"\n')
        self._environment = environment(folder / "run")
        self._journal = Tail(journal)
        budget = str(BUDGET_BYTES[arena])
        self._command = [program("gpu_trainer"), str(folder / "store"), str(journal), str(toml), budget]
        self.image_bytes = 0

    def live(self, steps: int, fake: Dict[str, str], die_after_bytes: Optional[int] = None) -> Life:
        command = [*self._command, str(steps)] + ([] if die_after_bytes is None else [str(die_after_bytes)])
        variables = {"FAKE_CUDA_" + name.upper(): value for name, value in fake.items()}
        done = subprocess.run(command, env={**self._environment, **variables}, timeout=PATIENCE_SECONDS,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
        said = [trainer_line(line) for line in self._journal.lines()]
        for one in said:
            if one.name == "trainer.state":
                self.image_bytes = one.step or 0

        def last(word: str) -> int:
            return max((one.step for one in said if one.name == "trainer." + word and one.step is not None), default=-1)

        resumed = next((one for one in said if one.name == "trainer.resumed"), None)
        return Life(done.returncode, resumed, last("called"), last("captured"), said, done.stderr)

    def close(self) -> None:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        for event in filter(None, map(parse_log_line, lines)):
            if event.name == "daemon.ready":
                with contextlib.suppress(ProcessLookupError):
                    daemon = Victim(int(event.fields["pid"]), "stillframed")
                    daemon.strike()
                    daemon.wait(PATIENCE_SECONDS)


@pytest.fixture
def rig(tmp_path: Path, arena: str) -> Iterator[GpuRig]:
    made = GpuRig(tmp_path, arena)
    yield made
    made.close()


def bytes_to_die_after(image_bytes: int) -> List[int]:
    """Evenly over the image, and around everything that is a border to somebody."""
    found = {i * image_bytes // EVENLY_SPREAD_KILLS for i in range(EVENLY_SPREAD_KILLS)}
    for border in range(CHUNK_BYTES, image_bytes, CHUNK_BYTES):
        found |= {border - 1, border, border + 1}
    return sorted(found | {0, 1, image_bytes - 1, image_bytes})


@pytest.mark.parametrize(("schedule", "arena"), CASES)
def test_a_death_at_any_byte_of_the_copies_loses_nothing_captured(
    rig: GpuRig, schedule: str, arena: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A race ends nobody here: what it would do to the bytes is for the comparison to find.
    fake = {"schedule": schedule, "delay_ms": "2", "races": "count", "dtoh_bytes_per_s": BYTES_PER_S}
    before = rig.live(STEPS_OF_A_LIFE, {**fake, "seed": "0"})
    assert before.exit_code == 0 and before.step_resumed() == -1, before.errors
    kills = bytes_to_die_after(rig.image_bytes)
    assert len(kills) >= 40

    equal = lost = 0
    for number, after_bytes in enumerate([*kills, rig.image_bytes + 1], 1):
        life = rig.live(STEPS_OF_A_LIFE, {**fake, "seed": str(number)}, after_bytes)
        where = f"{schedule}, {arena}, seed {number}, byte {after_bytes}"
        resumed = life.step_resumed()
        equal += before.exit_code != 0
        lost += max(0, before.captured - resumed)
        # The one that was cut off has vanished; nothing else was in doubt when it was.
        assert resumed == before.captured, f"{where}: the life before captured {before.captured}"
        if after_bytes <= rig.image_bytes:
            assert life.exit_code == -signal.SIGKILL, f"{where}: {life.errors}"
            assert life.captured == resumed + STEPS_OF_A_LIFE - 1, where
        before = life
    # One byte more than the image has does not come: the sweep went over all of them.
    assert before.exit_code == 0 and before.captured == before.called, before.errors
    with capsys.disabled():
        print(f"\ngpu kill sweep, {schedule}, {arena}: {len(kills)} kills, {equal} resumed equal, {lost} steps lost")
    assert (equal, lost) == (len(kills), 0)


@pytest.mark.parametrize(("schedule", "arena"), CASES)
def test_the_whole_loop_has_no_race(rig: GpuRig, schedule: str) -> None:
    steps = 20
    for lives in (1, 2):
        life = rig.live(steps, {"schedule": schedule, "delay_ms": "2", "races": "fatal", "seed": str(lives)})
        assert life.exit_code == 0, life.errors
        assert life.step_resumed() == (lives - 1) * steps - 1
        assert life.captured == lives * steps - 1
        assert life.happenings[-1] == Happening("trainer.finished", 0, "races")
