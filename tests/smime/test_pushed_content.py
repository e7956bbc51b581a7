"""What can only be written is read like any other content."""

from __future__ import annotations

import hashlib
import threading

import pytest

from sectool import cms
from sectool.errors import MessageChanged
from sectool.smime import PushedContent

BLOCKS = [bytes([number]) * (100_000 + number) for number in range(40)]
WHOLE = b"".join(BLOCKS)


def write_all(sink: cms.Sink) -> None:
    for block in BLOCKS:
        sink.write(block)


def test_every_reading_gives_all_bytes_in_order() -> None:
    content = PushedContent(write_all, len(WHOLE))
    for _ in range(2):
        with content.open() as stream:
            assert stream.read() == WHOLE
    assert content.digest == hashlib.sha256(WHOLE).hexdigest()


def test_a_reader_that_has_enough_ends_the_writer() -> None:
    written = 0

    def write_to(sink: cms.Sink) -> None:
        nonlocal written
        while True:
            sink.write(b"x" * 65536)
            written += 65536

    before = threading.active_count()
    with PushedContent(write_to, 1 << 40).open() as stream:
        assert stream.read(10) == b"x" * 10
    assert threading.active_count() == before
    assert written < 1 << 26


def test_what_the_writer_raises_reaches_the_reader_and_not_the_end_of_the_content() -> None:
    def write_to(sink: cms.Sink) -> None:
        sink.write(b"the first half")
        raise MessageChanged("it changed")

    with PushedContent(write_to, 28).open() as stream, pytest.raises(MessageChanged):
        stream.read()
