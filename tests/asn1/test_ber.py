"""The BER reader and the DER writer: laws between them, and bounds."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given, strategies as st

from sectool.asn1 import der, tags
from sectool.asn1.reader import BERReader, ReaderLimits
from sectool.cms.names import display_name
from sectool.errors import LimitExceeded, MalformedMessage

Segment = tuple[bytes, bytes]
"""Content of an OCTET STRING, and one way to encode it."""


LIMITS = ReaderLimits()


class Trickle(io.BytesIO):
    """A stream that gives one byte at a time, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1 if size else 0)


def octet_string(raw: bytes, limit: int = 1 << 20) -> bytes:
    reader = BERReader.over(raw, LIMITS)
    content = reader.read_octet_string("it", limit)
    assert reader.peek() is None
    return content


@given(st.integers())
def test_an_integer_reads_as_it_was_written(value: int) -> None:
    assert BERReader.over(der.integer(value), LIMITS).read_integer("it") == value


@given(st.lists(st.integers(0, 2**64), max_size=5), st.integers(0, 39), st.integers(0, 2))
def test_an_object_identifier_reads_as_it_was_written(rest: list[int], y: int, x: int) -> None:
    dotted = ".".join(map(str, [x, y, *rest]))
    assert BERReader.over(der.oid(dotted), LIMITS).read_oid("it") == dotted


def _nest(children: st.SearchStrategy[Segment]) -> st.SearchStrategy[Segment]:
    def nest(parts: list[Segment], indefinite: bool) -> Segment:
        content = b"".join(content for content, _ in parts)
        encoded = b"".join(encoded for _, encoded in parts)
        if indefinite:
            return content, b"\x24\x80" + encoded + b"\0\0"
        return content, der.element(0x24, encoded)

    return st.builds(nest, st.lists(children, max_size=5), st.booleans())


SEGMENTS = st.recursive(
    st.binary(max_size=300).map(lambda content: (content, der.octet_string(content))), _nest
)


@given(SEGMENTS)
def test_segments_of_an_octet_string_are_joined(segment: Segment) -> None:
    content, encoded = segment
    assert octet_string(encoded) == content
    assert der.canonical(encoded) == der.octet_string(content)


@given(st.binary(min_size=1, max_size=400))
def test_a_slow_stream_reads_like_a_fast_one(content: bytes) -> None:
    raw = b"\x30\x80\x24\x80" + der.octet_string(content) + b"\0\0" + der.integer(7) + b"\0\0"
    reader = BERReader(Trickle(raw + b"rest"), LIMITS)
    reader.enter(tags.SEQUENCE, "it")
    assert reader.read_octet_string("content", 400) == content
    assert reader.read_integer("number") == 7
    reader.leave("it")
    assert reader.digest() == hashlib.sha256(raw).hexdigest()
    assert reader.offset == len(raw)
    assert reader.count_trailing() == 4


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x04\x81\x03abc", id="B09-one-octet-too-many"),
        pytest.param(b"\x04\x84\0\0\0\x03abc", id="B09-four-octets"),
        pytest.param(b"\x04\x90" + bytes(15) + b"\x03abc", id="B09-sixteen-octets"),
        pytest.param(b"\x24\x81\x08\x04\x81\x02ab\x04\x01c", id="B09-in-segments"),
    ],
)
def test_lengths_that_are_not_minimal_are_read(raw: bytes) -> None:
    assert octet_string(raw) == b"abc"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(b"", MalformedMessage, id="B01-empty"),
        pytest.param(b"\x04", MalformedMessage, id="B02-no-length"),
        pytest.param(b"\x04\x05abcd", MalformedMessage, id="B03-last-byte-missing"),
        pytest.param(b"\x04\x84\x7f\xff\xff\xff", LimitExceeded, id="B08-2^31-1"),
        pytest.param(b"\x04\x88\x80" + bytes(7), LimitExceeded, id="B08-2^63"),
        pytest.param(b"\x04\xa0" + b"\x80" * 32, LimitExceeded, id="B08-5.8e76"),
        pytest.param(b"\x04\xfe" + bytes(126), LimitExceeded, id="B08-126-length-octets"),
        pytest.param(b"\x04\x80ab\0\0", MalformedMessage, id="indefinite-primitive"),
        pytest.param(b"\x24\x80\x04\x01a", MalformedMessage, id="end-of-contents-missing"),
        pytest.param(b"\x24\x03\x04\x05abcde", MalformedMessage, id="segment-leaves-its-string"),
        pytest.param(b"\x24\x80\x02\x01\x00\0\0", MalformedMessage, id="integer-as-a-segment"),
        pytest.param(b"\x24\x02\0\0", MalformedMessage, id="end-of-contents-in-definite"),
        pytest.param(b"\x1f\xff\xff\xff\xff\x7f\x00", LimitExceeded, id="tag-number-too-large"),
    ],
)
def test_what_is_not_an_octet_string_is_refused(raw: bytes, error: type[Exception]) -> None:
    reader = BERReader(io.BytesIO(raw), LIMITS)
    with pytest.raises(MalformedMessage) as caught:
        reader.read_octet_string("it", 1024)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x24\x04\x04\x05", id="short-segment"),
        pytest.param(b"\x24\x06\x04\x82\x00\x05", id="segment-with-two-length-octets"),
        pytest.param(b"\x24\x06\x04\x83\x00\x00\x05", id="segment-with-three-length-octets"),
        pytest.param(b"\x24\x06\x24\x80\x04\x05", id="segment-in-an-indefinite-one"),
        pytest.param(b"\x24\x03\x04", id="header-leaves-too"),
    ],
)
def test_an_element_does_not_reach_beyond_what_holds_it(raw: bytes) -> None:
    reader = BERReader(io.BytesIO(raw + b"more than enough, all of it outside" * 3), LIMITS)
    with pytest.raises(MalformedMessage, match="longer than what holds it"):
        reader.read_octet_string("it", 1024)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**40, 2**62])
def test_a_huge_length_costs_no_memory_before_the_stream_ends(length: int) -> None:
    reader = BERReader(io.BytesIO(der.header(0x04, length) + b"few bytes"), LIMITS)
    with pytest.raises(MalformedMessage, match="ends too soon"):
        reader.skip("it")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x24\x80" * 10_000, id="B06-indefinite"),
        pytest.param(
            b"".join(der.header(0x24, 5 * (10_000 - level)) for level in range(10_000)),
            id="B07-definite",
        ),
    ],
)
def test_nesting_ten_thousand_deep_is_refused(raw: bytes) -> None:
    reader = BERReader(io.BytesIO(raw + bytes(60_000)), LIMITS)
    with pytest.raises(LimitExceeded, match="nested"):
        reader.read_octet_string("it", 1 << 20)


def test_what_is_passed_over_may_be_nested_to_any_depth() -> None:
    nest = b"\x30\x80" * 10_000 + b"\0\0" * 10_000
    reader = BERReader(io.BytesIO(nest + nest + nest + der.integer(7)), LIMITS)
    reader.skip("it")
    assert reader.read_raw("it", len(nest)) == nest
    assert reader.read_raw_or_skip("it", len(nest) - 1) is None
    assert reader.read_integer("what follows") == 7


@pytest.mark.parametrize("end", [b"", b"\0\0" * 9_999, b"\0\1\0" * 10_000])
def test_a_nest_that_does_not_end_is_malformed(end: bytes) -> None:
    with pytest.raises(MalformedMessage):
        BERReader(io.BytesIO(b"\x30\x80" * 10_000 + end), LIMITS).skip("it")


def test_depth_up_to_the_limit_is_read() -> None:
    depth = LIMITS.depth
    raw = b"\x24\x80" * depth + der.octet_string(b"deep") + b"\0\0" * depth
    assert octet_string(raw) == b"deep"


@pytest.mark.parametrize("length", [2**63, 2**64, 2**100])
def test_a_length_that_no_file_has_is_refused_at_once(length: int) -> None:
    with pytest.raises(LimitExceeded, match="length"):
        BERReader(io.BytesIO(der.header(0x04, length) + b"few bytes"), LIMITS).skip("it")


def test_the_rest_of_an_element_is_not_ignored() -> None:
    reader = BERReader.over(der.sequence(der.integer(1), der.integer(2)), LIMITS)
    reader.enter(tags.SEQUENCE, "it")
    reader.read_integer("one")
    with pytest.raises(MalformedMessage, match="more than it should"):
        reader.leave("it")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(der.sequence(der.integer(1), der.octet_string(b"x")), id="definite"),
        pytest.param(b"\x30\x80\x24\x80\x04\x01a\0\0\x02\x01\x05\0\0", id="indefinite"),
        pytest.param(b"\x30\x06\x24\x80\x04\x00\0\0", id="mixed"),
        pytest.param(b"\x7f\x81\x01\x02\x05\x00", id="long-tag"),
    ],
)
def test_a_raw_element_is_kept_byte_for_byte(raw: bytes) -> None:
    reader = BERReader(io.BytesIO(raw + b"more"), LIMITS)
    assert reader.read_raw("it", 100) == raw
    assert reader.offset == len(raw)


def test_canonical_form_sorts_sets_and_shortens_lengths() -> None:
    ber = b"\x31\x80\x02\x81\x01\x05\x04\x01a\x02\x01\x03\0\0"
    assert der.canonical(ber) == b"\x31\x09\x02\x01\x03\x02\x01\x05\x04\x01a"


@given(st.binary(max_size=60))
def test_any_bytes_display_as_some_name(raw: bytes) -> None:
    assert display_name(raw).isprintable()


def test_a_name_displays_as_rfc_4514_writes_it() -> None:
    def attribute(oid: str, tag: int, value: bytes) -> bytes:
        return der.set_of([der.sequence(der.oid(oid), der.element(tag, value))])

    name = der.sequence(
        attribute("2.5.4.6", 0x13, b"DE"),
        attribute("2.5.4.10", 0x0C, b"#1, Inc. "),
        attribute("2.5.4.3", 0x1E, "Jörg\n".encode("utf-16-be")),
        attribute("1.2.3.4", 0x02, b"\x05"),
    )
    assert display_name(name) == r"1.2.3.4=#020105,CN=Jörg\0a,O=\#1\, Inc.\ ,C=DE"


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(1, 40)), max_size=12),
    st.booleans(),
)
def test_segments_of_any_lengths_join_to_what_was_divided(
    runs: list[tuple[int, int]], indefinite: bool
) -> None:
    pieces = [bytes(range(size)) for size, count in runs for _ in range(count)]
    body = b"".join(bytes((4, len(piece))) + piece for piece in pieces)
    if indefinite:
        raw = b"\x24\x80" + body + b"\0\0"
    else:
        raw = b"\x24\x84" + len(body).to_bytes(4, "big") + body + b"\x04\x01!"
    reader = BERReader(io.BytesIO(raw), LIMITS)
    assert reader.read_octet_string("x", 10_000) == b"".join(pieces)
    assert reader.offset == len(raw) - (0 if indefinite else 3)
