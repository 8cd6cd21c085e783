"""Which stores there are, and who is struck when: all of it follows from the seed."""

from __future__ import annotations

import random
from typing import List, NamedTuple

from killsweep_phases import AT_START, POINTS, SPREAD_SECONDS

VICTIMS = ("trainer", "daemon", "both")
KILLS_PER_STORE = 25
RANDOM_SECONDS = 0.4
KEEP_LAST = 2
# Of a state of six chunks and a descriptor: the arena holds two images, one, or the part of one.
BUDGET_BYTES = {"double": 32 << 20, "single": 9 << 20, "ring": (6 << 20) + (256 << 10)}


class Kill(NamedTuple):
    victim: str
    point: str
    after_progress: bool  # not before one more checkpoint is durable
    delay_seconds: float  # from the happening to the blow
    daemon_first: bool  # of both


class StorePlan(NamedTuple):
    number: int
    mode: str
    level: str
    snapshot_every: int
    kills: List[Kill]


def plan(count: int, seed: int) -> List[StorePlan]:
    dice = random.Random(seed)
    deck = [(victim, point) for victim in VICTIMS for point in POINTS]
    cards: List[Kill] = []
    while len(cards) < count:
        dice.shuffle(deck)
        cards += [deal(dice, victim, point) for victim, point in deck]
    stores = []
    for number, first in enumerate(range(0, count, KILLS_PER_STORE)):
        mode = ("double", "single", "double", "ring")[number % 4]
        level = ("default", "fast", "raw")[number % 3]
        kills = cards[first : min(first + KILLS_PER_STORE, count)]
        stores.append(StorePlan(number, mode, level, dice.choice((3, 6, 10)), kills))
    return stores


def deal(dice: random.Random, victim: str, point: str) -> Kill:
    spread = RANDOM_SECONDS if point == "random" else SPREAD_SECONDS.get(point, 0.0)
    delay = dice.choice((0.0, dice.uniform(0.0, spread))) if point != "random" else dice.uniform(0.0, spread)
    after_progress = point not in ("random", *AT_START) and dice.random() < 0.7
    return Kill(victim, point, after_progress, delay, dice.random() < 0.5)
