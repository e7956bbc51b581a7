"""What comes from a server is read within bounds, and what goes to it ends no string."""

from __future__ import annotations

import io
import tracemalloc
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from sectool.errors import ServerUnavailable
from sectool.mailbox.imap import utf7
from sectool.mailbox.imap.encoder import encode, uid_set
from sectool.mailbox.imap.folders import name_of
from sectool.mailbox.imap.reader import (
    DEEPEST,
    BadAnswer,
    Continuation,
    Data,
    Numbers,
    Reader,
    Sink,
    Spooled,
    Status,
)

MB = 1024 * 1024


def receiving(raw: bytes, most: int = 1 << 30) -> Callable[[int], bytes]:
    stream = io.BytesIO(raw)
    return lambda size: stream.read(min(size, most))


def read(raw: bytes, sink: Sink | None = None, most: int = 1 << 30) -> object:
    return Reader(receiving(raw, most)).read(sink)


def read_to_end(reader: Reader) -> None:
    while True:
        reader.read()


RESPONSES: dict[str, tuple[bytes, object]] = {
    "tagged": (b"S1 OK [CAPABILITY A B] yes\r\n", Status("S1", "OK", "CAPABILITY A B", "yes")),
    "no text": (b"S1 no\r\n", Status("S1", "NO", "", "")),
    "untagged": (b"* BYE {12}\r\n", Status("*", "BYE", "", "{12}")),
    "bare line end": (b"* OK x\n", Status("*", "OK", "", "x")),
    "more": (b"+ go on\r\n", Continuation()),
    "no more": (b"+\r\n", Continuation()),
    "number": (b"* 5 EXISTS\r\n", Data("EXISTS", 5, [])),
    "search": (b"* SEARCH 3 1 2\r\n", Numbers(array("Q", [3, 1, 2]))),
    "nothing found": (b"* SEARCH\r\n", Numbers(array("Q"))),
    "flags": (
        b"* 1 FETCH (FLAGS (\\Seen $x) UID 3)\r\n",
        Data("FETCH", 1, [["FLAGS", ["\\Seen", "$x"], "UID", "3"]]),
    ),
    "string": (b'* LIST () "/" "a \\"b\\\\"\r\n', Data("LIST", 0, [[], b"/", b'a "b\\'])),
    "literal": (
        b"* LIST () NIL {5}\r\na\r\n\0b\r\n",
        Data("LIST", 0, [[], None, b"a\r\n\0b"]),
    ),
    "empty literal": (b'* X {0}\r\n "y"\r\n', Data("X", 0, [b"", b"y"])),
    "section": (
        b"* 1 FETCH (BODY[A (B)]<0> NIL)\r\n",
        Data("FETCH", 1, [["BODY[A (B)]<0>", None]]),
    ),
    "bracket": (b"* 1 FETCH (FLAGS ([ x]))\r\n", Data("FETCH", 1, [["FLAGS", ["[ x]"]]])),
}


@pytest.mark.parametrize(("raw", "meant"), RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("most", [1, 3, 1 << 30])
def test_a_response_is_read_whatever_pieces_it_comes_in(
    raw: bytes, meant: object, most: int
) -> None:
    reader = Reader(receiving(raw + b"* OK next\r\n", most))
    assert reader.read() == meant
    assert reader.read() == Status("*", "OK", "", "next")


@pytest.mark.parametrize(("raw", "meant"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_that_is_cut_is_none(raw: bytes, meant: object) -> None:
    for end in range(len(raw)):
        with pytest.raises(ServerUnavailable):
            read(raw[:end])


HOSTILE: dict[str, bytes] = {
    "a line without end": b"* OK " + b"x" * (3 * MB),
    "brackets without end": b"* X " + b"[" * (300 * 1024) + b"\r\n",
    "a quotation without end": b'* X "' + b"\\" * (900 * 1024) + b"\r\n",
    "lists 10,000 deep": b"* X " + b"(" * 10_000 + b")" * 10_000 + b"\r\n",
    "lists without end": b"* X " + b"(" * 5 + b"\r\n",
    "a list that was not begun": b"* X )\r\n",
    "a million atoms": b"* X" + b" a" * 110_000 + b"\r\n",
    "a string of 4 GB": b"* X {4294967296}\r\n" + b"x" * 1000,
    "a size beyond all": b"* X {" + b"9" * 40 + b"}\r\n",
    "a thousand strings": b"* X" + b" {1000}\r\n" + (b"x" * 1000 + b" {1000}\r\n") * 2000,
    "a NUL": b"* X a\0b\r\n",
    "no response": b"HTTP/1.1 400 Bad Request\r\n",
    "an empty line": b"\r\n",
    "a message that was not asked for": b"* 1 FETCH (BODY[] {100000}\r\n"
    + b"x" * 100_000
    + b")\r\n",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_refused_in_little_memory(raw: bytes) -> None:
    reader = Reader(receiving(raw))
    tracemalloc.start()
    try:
        with pytest.raises(ServerUnavailable):
            read_to_end(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * MB


def test_a_large_message_goes_to_the_file_in_little_memory(tmp_path: object) -> None:
    size = 40 * MB
    head, block = b"* 1 FETCH (BODY[]<0> {%d}\r\n" % size, b"x" * 65_536
    pieces = iter([head, *([block] * (size // len(block))), b" UID 3)\r\n"])
    file = _Counting()
    tracemalloc.start()
    try:
        answer = Reader(lambda _: next(pieces)).read(Sink(file, most=size, total=size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer == Data("FETCH", 1, [["BODY[]<0>", Spooled(0, size), "UID", "3"]])
    assert (file.size, peak < 2 * MB) == (size, True)


class _Counting(io.BytesIO):
    size = 0

    def write(self, data: object) -> int:
        self.size += len(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]


@pytest.mark.parametrize(("most", "total"), [(9, 100), (100, 9)])
def test_more_of_a_message_than_was_asked_for_is_refused(most: int, total: int) -> None:
    with pytest.raises(BadAnswer, match="not asked for"):
        read(
            b"* 1 FETCH (BODY[] {10}\r\n0123456789)\r\n", Sink(io.BytesIO(), most=most, total=total)
        )


@given(st.binary(max_size=300))
def test_any_bytes_are_a_response_or_an_error_of_ours(raw: bytes) -> None:
    reader = Reader(receiving(b"* " + raw))
    try:
        while True:
            reader.read(Sink(io.BytesIO(), most=100, total=100))
    except ServerUnavailable:
        pass


def test_lists_may_be_as_deep_as_servers_make_them() -> None:
    deep = DEEPEST - 1
    assert isinstance(read(b"* X " + b"(" * deep + b")" * deep + b"\r\n"), Data)


# --- what goes to the server -----------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_a_string_of_a_command_is_read_back_as_it_was(strings: list[bytes]) -> None:
    if any(b"\0" in one for one in strings):
        with pytest.raises(ValueError, match="NUL"):
            encode("*", ["X", *strings])
        return
    pieces = encode("*", ["X", *strings])
    assert read(b"".join(pieces)) == Data("X", 0, list(strings))
    # A line ends where a literal follows, and at the end of all.
    *literals, last = pieces
    assert all(piece.endswith(b"}\r\n") for piece in literals)
    assert last.endswith(b"\r\n")


@pytest.mark.parametrize("word", ["A\r\nB", "A\nB", "A\0", "a {3}", "", " A", "A ", "é", "A\x7f"])
def test_a_word_that_would_end_its_line_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="no word"):
        encode("S1", [word])


@given(st.sets(st.integers(1, 60), min_size=1))
def test_a_set_of_numbers_names_these_and_no_others(numbers: set[int]) -> None:
    named: set[int] = set()
    for run in uid_set(sorted(numbers)).split(","):
        first, _, last = run.partition(":")
        named.update(range(int(first), int(last or first) + 1))
    assert named == numbers


# --- names of folders ------------------------------------------------------------------------

NAMES = {
    "INBOX": b"INBOX",
    "~peter/mail/台北/日本語": b"~peter/mail/&U,BTFw-/&ZeVnLIqe-",  # RFC 3501 section 5.1.3
    "Entwürfe": b"Entw&APw-rfe",
    "a&b": b"a&-b",
    "&": b"&-",
    "Gesendet 😀": b"Gesendet &2D3eAA-",
    "a\r\nb": b"a&AA0ACg-b",
    "": b"",
}


@pytest.mark.parametrize(("text", "wire"), NAMES.items())
def test_a_name_has_one_form_on_the_wire(text: str, wire: bytes) -> None:
    assert (utf7.encode(text), utf7.decode(wire)) == (wire, text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_comes_back(text: str) -> None:
    wire = utf7.encode(text)
    assert utf7.decode(wire) == text
    assert all(0x20 <= byte <= 0x7E for byte in wire)


@pytest.mark.parametrize(
    "wire",
    [
        *(b"&", b"a&b", b"&U,BTFw", b"&AGE-", b"&AC8-", b"&AC4ALg-", b"&U,BTFw-&ZeVnLIqe-"),
        *(
            b"&2D0-",
            b"&U-",
            b"&===-",
            b"&U/BTFw-",
            b"&-&",
            b"\xc3\xa9",
            b"a\0",
            b"a\r\n",
            b"&AOk=-",
        ),
    ],
)
def test_a_name_in_no_form_of_ours_is_refused(wire: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        utf7.decode(wire)


CALLED = {
    (b"inbox", b"/"): "INBOX",
    (b"INBOX.Sent", b"."): "INBOX/Sent",
    (b"Inbox", b""): "INBOX",
    (b"a.b/c", b"."): "a/b&AC8-c",
    (b"../../etc", b"/"): "../../etc",
    (b"a\r\nb", b"/"): "a\\x0d\\x0ab",
    (b"a\0b", b"/"): "a\\x00b",
    (b"\xff", b"/"): "\\xff",
    (b"&AA0ACg-", b"/"): "&AA0ACg-",
    (b"&", b"/"): "&",
}


@pytest.mark.parametrize(("wire", "name"), CALLED.items())
def test_a_folder_is_called_by_what_can_be_printed(wire: tuple[bytes, bytes], name: str) -> None:
    assert name_of(*wire) == name
    assert name.isprintable()
