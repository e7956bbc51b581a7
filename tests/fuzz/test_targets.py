"""The readers stay within their bounds on honest mail, whole and a little damaged.

No fuzzer is needed here: it would look longer, with the same functions.
"""

from __future__ import annotations

import random
from functools import partial

import pytest

from fuzz import seeds
from fuzz.targets import TARGETS, OutOfBounds, within_bounds
from tests.support.effort import effort

SEEDS = {target: list(seeds.MAKERS[target]()) for target in TARGETS}


MOST_WORK = {target: 100 if target == "keys" else 25 for target in TARGETS}
"""For one message, or one key file, whose private keys are checked; a fuzzer holds seconds."""


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_accepts_every_seed(target: str) -> None:
    assert len(SEEDS[target]) > 50
    for raw in SEEDS[target]:
        assert effort(partial(TARGETS[target], raw)) < MOST_WORK[target]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_survives_damaged_seeds(target: str) -> None:
    source = random.Random(2005)
    for raw in SEEDS[target]:
        damaged = bytearray(raw)
        for _ in range(source.randrange(1, 4)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        assert effort(partial(TARGETS[target], bytes(damaged))) < MOST_WORK[target]


def test_a_reader_that_raises_what_is_not_ours_is_noticed() -> None:
    def careless(data: bytes) -> None:
        raise IndexError(len(data))

    with pytest.raises(IndexError):
        within_bounds(careless, b"")


def _slow(data: bytes) -> None:
    sum(range(100_000 + len(data)))


def test_a_reader_that_takes_too_long_is_noticed() -> None:
    with pytest.raises(OutOfBounds, match="seconds"):
        within_bounds(_slow, b"", seconds=0)
