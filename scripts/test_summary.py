"""Adds up the JUnit files of ctest and pytest; the last line it prints is the sum.

    test_summary.py <folder of *.xml> <number of test runners that exited non-zero>

Exits 1 when a test failed, when a runner failed without saying which test, or when no test ran.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple


class Count(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: object) -> "Count":
        assert isinstance(other, Count)
        return Count(*(mine + theirs for mine, theirs in zip(tuple(self), tuple(other))))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def count(junit: Path) -> Count:
    total = Count()
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            total += Count(failed=1)
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            total += Count(skipped=1)
        else:
            total += Count(passed=1)
    return total


def main(folder: str, failed_runners: str) -> int:
    total = Count()
    for junit in sorted(Path(folder).glob("*.xml")):
        one = count(junit)
        print(f"{junit.stem}: {one}")
        total += one
    if int(failed_runners) and not total.failed:
        print(f"{failed_runners} of the test runners failed without naming a test: see above")
        total += Count(failed=int(failed_runners))
    print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
