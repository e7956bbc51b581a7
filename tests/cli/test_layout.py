"""Tables as wide as the terminal, and no width where there is none."""

from __future__ import annotations

import pytest

from sectool.cli.words import layout
from sectool.cli.words.layout import columns_of, key_name, table, wrapped
from sectool.outcome import RecipientKey

SERIAL = "7e0020110c5d4f8811aa027e0020110c5d4f8811"
ISSUER = "CN=An authority with a very long name of its own,OU=Mail,O=Example Organisation,C=ZZ"
ROWS = [(key_name(RecipientKey(ISSUER, SERIAL, "")), "12", "held"), ("CN=b serial 02", "3", "-")]
HEAD = ("encrypted to", "messages", "key")


def at(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "width", lambda _stream=None: columns)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_no_serial_number_is_cut_and_no_line_is_too_wide(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(columns, monkeypatch)
    lines = list(table(HEAD, ROWS))
    assert max(map(columns_of, lines)) <= columns
    cells = "".join(line[: columns - 16].strip() for line in lines)
    assert SERIAL in cells.replace(" ", "")


def test_in_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    at(None, monkeypatch)
    head, first, second = table(HEAD, ROWS)
    assert first.startswith(f"{ISSUER} serial {SERIAL} ")
    assert first.split()[-2:] == ["12", "held"]
    assert list(wrapped("word " * 100, indent=2)) == ["word " * 100]
    assert head.split()[-1] == "key"
    assert second.split()[-1] == "-"


def test_a_text_breaks_at_spaces_and_a_long_word_where_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at(40, monkeypatch)
    lines = list(wrapped(f"verdict   {'three words more ' * 6}{'x' * 90}", indent=10))
    assert lines[0] == "verdict   three words more three words"
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert max(map(columns_of, lines)) <= 40
    assert "".join(lines).count("x") == 90


@pytest.mark.parametrize("columns", [40, 80])
def test_wide_characters_count_twice(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at(columns, monkeypatch)
    lines = list(table(HEAD, [("\u90f5\u4fbf" * 60, "1", "-")]))
    assert max(map(columns_of, lines)) <= columns
