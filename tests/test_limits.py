"""Every limit stands in docs/limits.md with its value, and nothing else does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sectool import budget, cms, summary
from sectool.jobs.passes import bindings
from sectool.jobs.work import search_layers
from sectool.keys import limits as of_keys
from sectool.mailbox.imap import reader
from sectool.mime import limits as of_mime

PAGE = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")
ROOMS = {
    "cms": dataclasses.asdict(cms.DEFAULT_LIMITS),
    "mime": dataclasses.asdict(of_mime.Limits()),
    "keys": {name: getattr(of_keys, name) for name in dir(of_keys) if name.isupper()},
}
WIRE = {
    name: getattr(reader, name)
    for name in ("LONGEST_LINE", "LONGEST_NUMBERS", "LARGEST_STRING", "MOST_TOKENS", "DEEPEST")
}
LISTED = {name: getattr(summary, name) for name in ("LISTED_NOT_DONE", "LONGEST_REASON")}
LAYERS = {"DEEPEST": search_layers.DEEPEST}
TRIALS = {
    name: getattr(bindings, name)
    for name in (
        "SCAN_OPERATIONS",
        "RUN_OPERATIONS",
        "OCTETS_PER_OPERATION",
        "CERTIFICATES_PER_MESSAGE",
        "MESSAGES",
        "CERTIFICATES",
    )
}


def rows(where: str) -> dict[str, int]:
    """The limits that the page has of one place in the code."""
    _, _, section = PAGE.partition(f"({where})")
    section = section.partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| [^|]+ \|$", section, re.MULTILINE)
    return {name: int(value.replace(",", "")) for name, value in found}


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_has_every_limit_of_a_room_with_its_value(room: str) -> None:
    assert rows(f"`sectool/{room}/limits.py`") == ROOMS[room]


def test_the_page_has_what_one_message_and_one_key_file_may_cost() -> None:
    of_message = {work.name: limit for work, limit in budget.MESSAGE.items()}
    assert rows("`sectool/budget.py`") == {**of_message, "READINGS": budget.READINGS}
    of_key_file = {work.name: limit for work, limit in budget.KEY_FILE.items()}
    assert rows("`KEY_FILE` in `sectool/budget.py`") == of_key_file


def test_the_page_has_the_limits_of_layers_with_their_values() -> None:
    assert rows("`sectool/jobs/work/search_layers.py`") == LAYERS


def test_the_page_has_the_limits_of_trials_with_their_values() -> None:
    assert rows("`sectool/jobs/passes/bindings.py`") == TRIALS


def test_the_page_has_the_limits_of_the_wire_with_their_values() -> None:
    assert rows("`sectool/mailbox/imap/reader.py`") == WIRE


def test_the_page_has_the_limits_of_what_is_listed_with_their_values() -> None:
    assert rows("`sectool/summary.py`") == LISTED
