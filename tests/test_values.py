"""Values compare, hash and show themselves as those of the standard library do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sectool import values

MAKERS: tuple[Any, ...] = (dataclasses.dataclass, values.dataclass)


def _defined(make: Any, **options: bool) -> Any:
    @make(**options)
    class Value:
        number: int = 1
        text: str = dataclasses.field(default="x", repr=False)
        seen: list[int] = dataclasses.field(default_factory=list, compare=False)

    return Value


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"slots": True},
        {"frozen": True},
        {"frozen": True, "slots": True},
        {"frozen": True, "slots": True, "order": True},
        {"eq": False, "repr": False},
    ],
    ids=str,
)
def test_values_are_those_of_the_standard_library(options: dict[str, bool]) -> None:
    theirs, ours = (_defined(make, **options) for make in MAKERS)
    for other in (1, "x", [3]), (1, "x", []), (2, "x", []), (1, "y", []):
        assert (ours() == ours(*other)) is (theirs() == theirs(*other))
        if options.get("order"):
            assert (ours() < ours(*other)) is (theirs() < theirs(*other))
    assert ours() != theirs()
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)
    if options.get("frozen"):
        assert len({ours(), ours(1, "x", [3]), ours(2)}) == 2
    if options.get("repr", True):
        assert repr(ours()) == repr(theirs())


def test_what_a_class_defines_itself_stays() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        number: int

        def __repr__(self) -> str:
            return "shown"

        def __hash__(self) -> int:
            return 7

    assert (repr(Own(1)), hash(Own(1))) == ("shown", 7)
    assert Own(1) == Own(1)


def test_a_value_of_no_field_equals_its_like() -> None:
    @values.dataclass(frozen=True)
    class Nothing:
        pass

    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
