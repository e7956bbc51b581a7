"""Entities found again by their paths, with all the parts they have."""

from __future__ import annotations

import pytest

from sectool import smime
from sectool.errors import MalformedMessage
from sectool.message import BytesContent

PLAIN = b"Content-Type: text/plain\n\none\n"
INNER = b'Content-Type: multipart/mixed; boundary="in"\n\n--in\n\none\n--in\n\ntwo\n--in--'
RFC822 = b"Content-Type: message/rfc822\n\n"


def message(*parts: bytes) -> bytes:
    """A multipart message of these entities."""
    lines = [b'Subject: x\nContent-Type: multipart/mixed; boundary="out"\n']
    return b"\n--out\n".join([*lines, *parts]) + b"\n--out--\n"


FOUND = {
    "text": (message(PLAIN, PLAIN), "2", PLAIN),
    "multipart": (message(PLAIN, INNER), "2", INNER),
    "part of it": (message(PLAIN, INNER), "2.2", b"\ntwo"),
    "multipart, and a line": (message(INNER + b"\n"), "1", INNER + b"\n"),
    "multipart with an epilogue": (message(INNER + b"\nbye"), "1", INNER + b"\nbye"),
    "multipart without an end": (message(INNER[:-7], PLAIN), "1", INNER[:-7]),
    "forward": (message(PLAIN, RFC822 + PLAIN), "2", RFC822 + PLAIN),
    "body of a forward": (message(PLAIN, RFC822 + PLAIN), "2.1", PLAIN),
    "forwarded multipart": (message(PLAIN, RFC822 + INNER), "2.1", INNER),
    "second part of it": (message(PLAIN, RFC822 + INNER), "2.2", b"\ntwo"),
    "forward of a forward": (RFC822 + RFC822 + INNER, "1.1.1", INNER),
    "root": (message(PLAIN), "", message(PLAIN)),
    "empty": (message(b"", PLAIN), "1", b"\n"),
    "message without an end": (message(PLAIN, INNER)[:-9], "2", INNER),
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", FOUND)
def test_an_entity_is_found_from_its_header_to_its_end(name: str, line_end: bytes) -> None:
    raw, path, wanted = FOUND[name]
    raw, wanted = (text.replace(b"\n", line_end) for text in (raw, wanted))
    (place,) = smime.places_of(BytesContent(raw), [path])
    assert raw[place.header.start : place.body_end] == wanted
    assert place.is_last == (place.body_end == len(raw))
    assert place.line_end == line_end


def test_what_is_around_is_told_from_the_outermost_on() -> None:
    content = BytesContent(message(PLAIN, RFC822 + INNER))
    places = smime.places_of(content, ["1", "2.1", "2.2"])
    assert [place.enclosing for place in places] == [
        (b"--out",),
        (b"--out",),
        (b"--out", b"--in"),
    ]


def test_a_path_that_leads_nowhere_is_told() -> None:
    with pytest.raises(MalformedMessage, match="parts that it had"):
        smime.places_of(BytesContent(message(PLAIN)), ["1", "2"])
