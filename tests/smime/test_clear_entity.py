"""The entity of a message in clear: its bytes do not depend on the store's line ends."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from sectool import smime
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.message import BytesContent, digest_stream

HEADER = b"Subject: x\r\nContent-Type: text/plain\r\nX-Last: y\r\n\r\n"


def entity(raw: bytes) -> bytes:
    with smime.ClearEntity(BytesContent(raw)).open() as stream:
        return stream.read()


@given(st.lists(st.binary().map(lambda line: line.translate(None, b"\r\n"))))
def test_it_is_the_same_whatever_line_ends_the_store_keeps(lines: list[bytes]) -> None:
    crlf = HEADER + b"\r\n".join(lines)
    assert entity(crlf.replace(b"\r\n", b"\n")) == entity(crlf)
    assert entity(crlf) == b"Content-Type: text/plain\r\n\r\n" + b"\r\n".join(lines)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_000])
def test_size_and_digest_are_those_of_what_is_read_however_it_is_read(size: int) -> None:
    content = smime.ClearEntity(BytesContent(HEADER + b"line\n" * size))
    with content.open() as stream:
        assert digest_stream(stream) == content.digest
    with content.open() as stream:
        pieces = iter(lambda: stream.read(1000), b"")
        assert sum(map(len, pieces)) == content.size


def test_a_carriage_return_alone_is_not_taken_even_at_the_end() -> None:
    for body in (b"a\rb\n", b"a\r", b"a\r\r\n"):
        with pytest.raises(UnsupportedMessage, match="carriage return"):
            smime.ClearEntity(BytesContent(HEADER + body))


def test_a_binary_part_deep_inside_is_not_taken() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n'
        b"Content-Transfer-Encoding: binary\n\nx\n--b--\n"
    )
    with pytest.raises(UnsupportedMessage, match="binary"):
        smime.ClearEntity(BytesContent(raw))


def test_what_has_no_header_is_no_message() -> None:
    with pytest.raises(MalformedMessage):
        smime.ClearEntity(BytesContent(b"\njust text\n"))
