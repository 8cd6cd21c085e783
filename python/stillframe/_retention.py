"""Retention: which checkpoints of a run stay. docs/retention.md explains each word."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Dict, Sequence, Tuple, Union

# (metric, "min" or "max", how many); the mode and the number may be left out.
BestRule = Union[Tuple[str], Tuple[str, str], Tuple[str, str, int]]

_MAX_INTEGER = 2**63 - 1
_MAX_COUNT = 1_000_000
_MAX_SECONDS = 100 * 365 * 86_400
_MAX_BEST_RULES = 16
_MAX_STEPS = 1000
_MAX_METRIC_BYTES = 256

# word -> least and most
_RANGES: Dict[str, Tuple[int, int]] = {
    "keep_last": (1, _MAX_COUNT),
    "keep_every_steps": (0, _MAX_INTEGER),
    "keep_every_seconds": (0, _MAX_SECONDS),
    "keep_for_seconds": (0, _MAX_SECONDS),
    "max_bytes": (0, _MAX_INTEGER),
    "min_free_bytes": (0, _MAX_INTEGER),
    "min_verified": (1, _MAX_COUNT),
}


def _refuse(word: str, expected: str, found: object) -> ValueError:
    return ValueError(f"Retention: {word}: expected {expected}, found {found!r}")


def _is_metric(name: object) -> bool:
    return (
        isinstance(name, str)
        and name == name.strip(" ")
        and 1 <= len(name.encode("utf-8", "surrogatepass")) <= _MAX_METRIC_BYTES
        and not any(char in ",:\x7f" or char < " " or "\ud800" <= char <= "\udfff" for char in name)
    )


def _best_rule(given: object) -> Tuple[str, str, int]:
    rule: Tuple[Any, ...] = tuple(given) if isinstance(given, (tuple, list)) else ()
    metric = rule[0] if rule else None
    mode = rule[1] if len(rule) > 1 else "min"
    count = rule[2] if len(rule) > 2 else 1
    is_count = type(count) is int and 1 <= count <= _MAX_COUNT
    if len(rule) > 3 or not _is_metric(metric) or mode not in ("min", "max") or not is_count:
        expected = 'rules such as ("loss", "min", 1): a metric, "min" or "max", and how many (at least 1)'
        raise _refuse("keep_best", expected, given)
    return str(metric), str(mode), int(count)


def _best_rules(given: object) -> Tuple[Tuple[str, str, int], ...]:
    if isinstance(given, (tuple, list)) and given and isinstance(given[0], str):
        given = (given,)  # one rule
    if not isinstance(given, (tuple, list)) or len(given) > _MAX_BEST_RULES:
        raise _refuse("keep_best", f'one rule such as ("loss", "min", 1) or at most {_MAX_BEST_RULES} of them', given)
    rules = tuple(_best_rule(one) for one in given)
    if len({rule[:2] for rule in rules}) != len(rules):
        raise _refuse("keep_best", "each metric and mode once", given)
    return rules


def _is_step(step: object) -> bool:
    return type(step) is int and -_MAX_INTEGER - 1 <= step <= _MAX_INTEGER


def _steps(given: object) -> Tuple[int, ...]:
    if not isinstance(given, (tuple, list, set, frozenset, range)) or len(given) > _MAX_STEPS:
        raise _refuse("keep_steps", f"a list of at most {_MAX_STEPS} integers", given)
    if not all(map(_is_step, given)):
        raise _refuse("keep_steps", "integers of 64 bits", given)
    return tuple(given)


@dataclass(frozen=True)
class Retention:
    """Which checkpoints of the run stay: all that any of these words keeps. 0 and () switch a word off.

    keep_last           the newest so many (at least 1), counted after the newest has been written
    keep_best           the best by a metric: ("loss", "min", 1), or a list of such rules. NaN and infinities are never
                        the best; a checkpoint without the metric cannot be judged and stays
    keep_every_steps    the first at or after each multiple of so many steps
    keep_every_seconds  one in every so many seconds
    keep_for_seconds    all of the last so many seconds
    keep_steps          those of these steps

    Two limits override these words, oldest first:
    max_bytes           the whole store takes at most so many bytes
    min_free_bytes      so many bytes stay free on its file system

    Never removed: the newest, the newest `min_verified` (at least 1) verified ones, the best, the pinned, and anything
    while no newer checkpoint is verified. Raises ValueError, naming the word, for a value that it does not take.
    """

    keep_last: int = 3
    keep_best: Union[BestRule, Sequence[BestRule]] = ()
    keep_every_steps: int = 0
    keep_every_seconds: int = 0
    keep_for_seconds: int = 0
    keep_steps: Sequence[int] = ()
    max_bytes: int = 0
    min_free_bytes: int = 64 << 20
    min_verified: int = 1

    def __post_init__(self) -> None:
        for word, (least, most) in _RANGES.items():
            value = getattr(self, word)
            if type(value) is not int or not least <= value <= most:
                raise _refuse(word, f"an integer from {least} to {most}", value)
        object.__setattr__(self, "keep_best", _best_rules(self.keep_best))
        object.__setattr__(self, "keep_steps", _steps(self.keep_steps))

    def to_json(self) -> str:
        """As the library and the daemon take it."""
        words: Dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        words["keep_best"] = [
            {"metric": metric, "mode": mode, "count": count} for metric, mode, count in _best_rules(self.keep_best)
        ]
        words["keep_steps"] = list(self.keep_steps)
        return json.dumps(words, separators=(",", ":"), ensure_ascii=False)
