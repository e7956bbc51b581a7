"""Every limit stands in docs/limits.md with its value, and nothing else does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sectool import cms, smime
from sectool.keys import limits as of_keys

PAGE = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")
ROOMS = {
    "cms": dataclasses.asdict(cms.DEFAULT_LIMITS),
    "smime": dataclasses.asdict(smime.Limits()),
    "keys": {name: getattr(of_keys, name) for name in dir(of_keys) if name.isupper()},
}


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_has_every_limit_of_a_room_with_its_value(room: str) -> None:
    _, _, section = PAGE.partition(f"(`sectool/{room}/limits.py`)")
    section = section.partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| [^|]+ \|$", section, re.MULTILINE)
    assert {name: int(value.replace(",", "")) for name, value in rows} == ROOMS[room]
