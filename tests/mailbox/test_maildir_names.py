"""Names on a Maildir are taken apart, translated and made without loss."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from sectool.mailbox.files.names import is_unique_name, printable, safe_level, unique_name
from sectool.mailbox.maildir.names import FlagLetters, decode_level, split_name
from sectool.message import Flags

file_names = st.binary(min_size=1, max_size=60).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("1.host", ("1.host", "")),
        ("1.host:2,", ("1.host", "")),
        ("1.host:2,FS", ("1.host", "FS")),
        ("1.host,S=12,W=13:2,S", ("1.host,S=12,W=13", "S")),
        ("1.host:1,x", ("1.host:1,x", "")),
        (":2,S", ("", "S")),
    ],
)
def test_a_file_name_is_a_base_name_and_letters(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@given(st.lists(file_names, unique=True, max_size=20))
def test_different_file_names_stay_different_when_made_printable(names: list[str]) -> None:
    assert len({printable(name) for name in names}) == len(names)


@given(file_names)
def test_a_printable_name_can_be_stored_anywhere(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    shown.encode("utf-8")


# --- unique names -----------------------------------------------------------------


def test_unique_names_differ_and_sort_as_they_were_made() -> None:
    names = [unique_name(1) for _ in range(5000)]
    moments = [re.match(r"(\d+)\.M(\d{6})P", name) for name in names]
    assert len(set(names)) == 5000
    found = [match.groups() for match in moments if match]
    assert found == sorted(found)
    assert len(set(found)) == 5000


def test_a_unique_name_is_known_again() -> None:
    assert is_unique_name(unique_name(0))
    assert is_unique_name(unique_name(10**15))


@pytest.mark.parametrize("host", ["a/b:c", "..", "ä.example", "h" * 500, "", "a,S=1", "a b\n"])
def test_no_host_name_breaks_a_unique_name(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    name = unique_name(7)
    assert is_unique_name(name)
    assert not set(name) & set("/:\n")
    assert name.count(",") == 1
    assert len(name) < 200


# --- flags -----------------------------------------------------------------------


TABLE = b"0 $Forwarded\n1 Work\n2 $MDNSent\n"


@given(st.text(alphabet="DFPRSTabcdzXQ", max_size=12))
def test_letters_survive_both_ways(letters: str) -> None:
    table = FlagLetters.parse(TABLE)
    assert table.letters(table.flags(letters)) == "".join(sorted(set(letters)))


@given(st.binary(max_size=300), st.text(alphabet="DFPRSTabcdz", max_size=12))
def test_letters_survive_whatever_the_table_says(table: bytes, letters: str) -> None:
    parsed = FlagLetters.parse(table)
    assert parsed.letters(parsed.flags(letters)) == "".join(sorted(set(letters)))


@pytest.mark.parametrize(
    ("line", "keyword"),
    [
        (b"0 Work", "Work"),
        (b"0 keyword-b", "keyword-a"),
        (b"0 two words", "keyword-a"),
        (b"0 \x1b[2J", "keyword-a"),
        (b"0 \xff", "keyword-a"),
        (b"0 ", "keyword-a"),
        (b"0", "keyword-a"),
        (b"26 Work", "keyword-a"),
        (b"-1 Work", "keyword-a"),
        (b"99999999999999999999999 Work", "keyword-a"),
        (b"0 " + b"x" * 300, "keyword-a"),
        (b"0 Work\n0 Other", "Work"),
        ("\N{ARABIC-INDIC DIGIT ZERO} Work".encode(), "keyword-a"),
    ],
)
def test_a_line_of_the_keyword_table_is_believed_if_it_makes_sense(
    line: bytes, keyword: str
) -> None:
    assert FlagLetters.parse(line).flags("a") == Flags(frozenset(), frozenset({keyword}))


def test_a_keyword_without_a_letter_is_left_out() -> None:
    flags = Flags(frozenset({"seen", "unheard-of"}), frozenset({"Work", "Other"}))
    assert FlagLetters.parse(TABLE).letters(flags) == "Sb"


# --- folders ----------------------------------------------------------------------


@given(
    st.text(
        alphabet=st.characters(min_codepoint=0xA1, exclude_categories=["C", "Z"]),
        min_size=1,
        max_size=20,
    )
)
def test_modified_utf7_is_decoded(text: str) -> None:
    run = base64.b64encode(text.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
    assert decode_level(f"A&-&{run}-Z") == f"A&{text}Z"


@pytest.mark.parametrize(
    "raw",
    ["&", "&AB", "&AB-", "&AC8-", "&AC4ALg-", "..", ".", "", "&AGEA-", "&!!!!-", "&AAA-", "&2D0-",
     "&AOQ=-", "a/b", "a\nb", "\udcff", "&\u00e4-", "&AOR-"],
)  # fmt: skip
def test_a_name_that_could_mislead_is_not_decoded(raw: str) -> None:
    assert decode_level(raw) is None


@given(st.text(max_size=30))
def test_no_name_decodes_to_a_path(raw: str) -> None:
    decoded = decode_level(raw)
    assert decoded is None or ("/" not in decoded and decoded not in {"", ".", ".."})


@given(st.lists(file_names, unique=True, max_size=10))
def test_a_safe_level_is_no_path(names: list[str]) -> None:
    for name in names:
        level = safe_level(name.replace("/", ""))
        assert level.isprintable()
        assert level
        assert ".." not in level
        assert level != "."


def test_the_example_of_the_rfc_is_decoded(modified_utf7: Callable[[str], str]) -> None:
    assert decode_level("&U,BTFw-") == "台北"
    assert decode_level("&ZeVnLIqe-") == "日本語"
    assert decode_level(modified_utf7("ü")) == "ü"
