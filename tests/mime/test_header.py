"""Header blocks: which bytes are fields, and where they end."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, strategies as st

from sectool.errors import LimitExceeded
from sectool.mime.header import HeaderBlock, read_header
from sectool.mime.limits import Limits
from sectool.mime.lines import LineScanner


def header_of(raw: bytes, limits: Limits = Limits()) -> HeaderBlock:  # noqa: B008  # frozen
    return read_header(LineScanner(io.BytesIO(raw)), limits=limits)


# name: raw, names of its fields, header end, body start
HEADERS = {
    "CRLF": (b"A: 1\r\nB: 2\r\n\r\nbody", [b"a", b"b"], 12, 14),
    "LF": (b"A: 1\nB: 2\n\nbody", [b"a", b"b"], 10, 11),
    "mixed": (b"A: 1\r\nB: 2\n\r\nbody", [b"a", b"b"], 11, 13),
    "folded": (b"A: 1\n\t2\n 3\nB: 4\n\n", [b"a", b"b"], 16, 17),
    "folded with nothing": (b"A: 1\n \nB: 2\n\n", [b"a", b"b"], 12, 13),
    "blank before the colon": (b"A : 1\n\n", [b"a"], 6, 7),
    "no blank line": (b"A: 1\nMIIBxyz\n", [b"a"], 5, 5),
    "ends in the header": (b"A: 1\nB: 2", [b"a", b"b"], 9, 9),
    "only a header": (b"A: 1\n", [b"a"], 5, 5),
    "mbox line": (b"From a@b Mon Jan 7\nA: 1\n\nx", [b"a"], 24, 25),
    "quoted mbox line inside": (b"A: 1\n>From a@b Mon Jan 7\nB: 2\n\nx", [b"a", b"b"], 30, 31),
    "bare CR is no line end": (b"A: 1\rB: 2\n\n", [b"a"], 10, 11),
    "8-bit value": (b"A: \xe4\xff\n\n", [b"a"], 6, 7),
    "8-bit name": (b"\xe4: 1\n\n", [], 0, 0),
    "blank line first": (b"\nA: 1\n\n", [], 0, 1),
    "text": (b"Mind the gap\n", [], 0, 0),
    "continuation first": (b" x\nA: 1\n\n", [], 0, 0),
    "nothing": (b"", [], 0, 0),
    "empty name": (b": x\n\n", [], 0, 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_ends_where_other_programs_let_it_end(name: str) -> None:
    raw, names, end, body_start = HEADERS[name]
    header = header_of(raw)
    assert [field.name for field in header.fields] == names
    assert (header.end, header.body_start) == (end, body_start)


def test_the_first_of_two_fields_counts() -> None:
    assert header_of(b"Content-Type: a/b\ncontent-type: c/d\n\n").first(b"content-type") == b"a/b"


def test_a_value_is_unfolded() -> None:
    assert header_of(b"A: one\r\n\ttwo \r\n\r\n").first(b"a") == b"one\ttwo"


HEADER_LINES = st.lists(
    st.sampled_from([b"A: 1", b"Subject: \xe4", b" fold", b"\tfold", b"X:", b">From x", b"B:\r2"]),
    max_size=8,
)


@given(HEADER_LINES, st.sampled_from([b"\n", b"\r\n"]), st.binary(max_size=20))
def test_fields_lie_where_their_offsets_say(
    lines: list[bytes], line_end: bytes, body: bytes
) -> None:
    raw = b"".join(line + line_end for line in [b"First: 1", *lines, b""]) + body
    header = header_of(raw)
    assert raw[header.body_start :] == body
    for field in header.fields:
        assert raw[field.start : field.end] == field.raw


BOUNDS = {
    "B50 a header of 10 MB": b"A: " + b"x" * 10_000_000,
    "B50 a folded header of 10 MB": b"A: 1\n" + b" x\n" * 3_400_000,
    "B50 10^5 fields": b"A: 1\n" * 100_000,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_header_beyond_the_limits_is_refused(name: str) -> None:
    with pytest.raises(LimitExceeded):
        header_of(BOUNDS[name])


def test_binary_data_without_a_line_end_is_not_read_in_search_of_one() -> None:
    scanner = LineScanner(io.BytesIO(b"\x00" * 20_000_000))
    assert read_header(scanner).fields == ()
    assert scanner.offset == 0
