"""The page of states for users says what the tool says."""

from __future__ import annotations

import re
from pathlib import Path

from sectool.outcome import NOT_DONE, State

PAGE = Path(__file__).parents[1] / "docs" / "states.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([^|]+) \| (yes|no) \| ([^|]+) \|$", re.MULTILINE)


def test_the_page_has_every_state_once_and_says_whether_it_is_done() -> None:
    rows = [(state, done) for state, _, done, _ in ROW.findall(PAGE.read_text())]
    assert rows == [(state, "no" if state in NOT_DONE else "yes") for state in State]
