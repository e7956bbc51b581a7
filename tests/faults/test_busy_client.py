"""A user acts on a real Dovecot while commands run and are killed: their last word counts.

F42-F45 and G10: afterwards each message is there once, where the user last put it, with the
flags they last set and the text it had; the server's log is clean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.busy_story import STORIES, BusyStory
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.faults import FaultyProcess
from tests.support.mailboxes import Keys

SEEDS = range(1, 13)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


# Budget: 15 seconds for the three of the sample.
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.all_only) for seed in SEEDS[1:])]
)
def test_the_last_word_of_a_busy_user_counts(
    story: str,
    seed: int,
    dovecot: Dovecot,
    faulty: FaultyProcess,
    keys: Keys,
    tmp_path: Path,
    whole: bool,
) -> None:
    busy = BusyStory(dovecot, faulty, keys, tmp_path, tmp_path / "job", seed)
    assert busy.tell(story, acts=100 if whole else 12).said
