"""Transfer encodings: what is decoded, what is noticed, how it is written."""

from __future__ import annotations

import base64
import io
import quopri

import pytest
from hypothesis import given, strategies as st

from sectool.message import BytesContent
from sectool.mime import base64_text, transfer_encoding
from sectool.mime.base64_text import Base64Writer
from sectool.mime.transfer_encoding import Layer, find_layers, open_decoded

DER = b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(245)


def decoded(text: bytes, *layers: Layer) -> tuple[bytes, set[str]]:
    defects: set[str] = set()
    with open_decoded(BytesContent(text), 0, len(text), layers, defects.add) as stream:
        return stream.read(), defects


@st.composite
def layouts(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Content and a layout of its base64 with white space anywhere."""
    raw = draw(st.binary(max_size=400))
    text = base64.b64encode(raw)
    gaps = draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    spaces = st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b"\r", b"\n\n"])
    pieces = []
    for start, end in zip([0, *gaps], [*gaps, len(text)], strict=True):
        pieces += [text[start:end], draw(spaces)]
    return raw, b"".join(pieces)


@given(layouts())
def test_base64_of_any_layout_decodes_as_the_standard_library_does(
    layout: tuple[bytes, bytes],
) -> None:
    raw, text = layout
    assert decoded(text, Layer.BASE64) == (raw, set())
    assert base64.b64decode(text) == raw


@given(st.binary(max_size=300), st.integers(1, 7))
def test_base64_decodes_alike_however_it_is_cut_into_blocks(raw: bytes, step: int) -> None:
    text = base64.encodebytes(raw)
    decoder = base64_text.Base64Decoder(lambda _: None)
    pieces = [decoder.update(text[at : at + step]) for at in range(0, len(text), step)]
    assert b"".join(pieces) + decoder.finish() == raw


DEFECTS = {
    "junk": (b"aGVs!bG8g\xff d29y*bGQh", b"hello world!", {base64_text.STRAY_CHARACTERS}),
    "junk lines": (
        b"aGVsbG8g\n-- \nd29ybGQh",
        b"hello world!",
        {base64_text.STRAY_CHARACTERS},
    ),
    "missing padding": (b"aGVsbG8gd29ybGQ", b"hello world", {base64_text.MISSING_PADDING}),
    "torn group": (b"aGVsbG8gd29ybGQhI", b"hello world!", {base64_text.INCOMPLETE_BASE64}),
    "footer": (b"aGVsbG8=\n____\nlist", b"hello", {base64_text.AFTER_PADDING}),
    "stray padding": (b"aGVs=bG8=", b"hello", {base64_text.STRAY_CHARACTERS}),
    "only padding": (b"====", b"", {base64_text.STRAY_CHARACTERS}),
    "nothing": (b"", b"", set()),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_damaged_base64_is_decoded_as_far_as_it_goes_and_noted(name: str) -> None:
    text, content, defects = DEFECTS[name]
    got, noted = decoded(text, Layer.BASE64)
    assert got == content
    assert defects <= noted
    assert bool(defects) == bool(noted)


def test_a_million_pad_signs_cost_no_more_than_their_length() -> None:
    assert decoded(b"=" * 1_000_000, Layer.BASE64)[0] == b""


def test_a_base64_line_of_a_million_characters_decodes() -> None:
    raw = bytes(range(256)) * 3000
    assert decoded(base64.b64encode(raw), Layer.BASE64) == (raw, set())


@pytest.mark.parametrize("step", range(1, 12))
def test_armour_decodes_alike_however_it_is_cut_into_blocks(step: int) -> None:
    # No padding ends it before its last line does.
    raw = bytes(range(90))
    text = armoured(b"CMS", raw)
    decoder = transfer_encoding.ArmourDecoder(lambda _: None)
    pieces = [decoder.update(text[at : at + step]) for at in range(0, len(text), step)]
    assert b"".join(pieces) + decoder.finish() == raw


@given(st.binary(max_size=300))
def test_quoted_printable_decodes_as_the_standard_library_does(raw: bytes) -> None:
    text = quopri.encodestring(raw)
    assert decoded(text, Layer.QUOTED_PRINTABLE)[0] == quopri.decodestring(text)


def test_quoted_printable_without_line_ends_is_not_torn_inside_an_escape() -> None:
    raw = bytes(range(128, 256)) * 4000
    text = b"".join(b"=%02X" % octet for octet in raw)
    assert decoded(text, Layer.QUOTED_PRINTABLE)[0] == raw


def armoured(label: bytes, raw: bytes = DER) -> bytes:
    text = base64.encodebytes(raw)
    return b"-----BEGIN " + label + b"-----\n" + text + b"-----END " + label + b"-----\n"


LAYERS = {
    "declared base64": (base64.encodebytes(DER), "base64", (Layer.BASE64,)),
    "declared in odd case": (base64.encodebytes(DER), ' "Base64" ', (Layer.BASE64,)),
    "undeclared base64": (base64.encodebytes(DER), "", (Layer.BASE64,)),
    "base64 called 7bit": (base64.encodebytes(DER), "7bit", (Layer.BASE64,)),
    "base64 called binary": (base64.encodebytes(DER), "binary", (Layer.BASE64,)),
    "binary": (DER, "binary", ()),
    "binary called base64": (DER, "base64", ()),
    "armour": (armoured(b"PKCS7"), "7bit", (Layer.ARMOUR,)),
    "armour of gpgsm": (armoured(b"ENCRYPTED MESSAGE"), "7bit", (Layer.ARMOUR,)),
    "armour of gpgsm around a signature": (armoured(b"SIGNED MESSAGE"), "7bit", (Layer.ARMOUR,)),
    "armour called base64": (armoured(b"CMS"), "base64", (Layer.ARMOUR,)),
    "quoted-printable": (
        quopri.encodestring(DER),
        "quoted-printable",
        (Layer.QUOTED_PRINTABLE,),
    ),
    "base64 in quoted-printable": (
        quopri.encodestring(base64.encodebytes(DER)),
        "quoted-printable",
        (Layer.QUOTED_PRINTABLE, Layer.BASE64),
    ),
    "base64 twice": (
        base64.encodebytes(base64.encodebytes(DER)),
        "base64",
        (Layer.BASE64, Layer.BASE64),
    ),
    "plain text": (b"Mind the gap, please.\n", "7bit", ()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_around_a_body_are_found_by_content(name: str) -> None:
    body, declared, layers = LAYERS[name]
    assert find_layers(BytesContent(body), 0, len(body), declared) == layers
    if name != "plain text":
        assert decoded(body, *layers)[0] == DER


@given(
    st.lists(st.binary(max_size=200), max_size=6),
    st.sampled_from([b"\r\n", b"\n"]),
    st.booleans(),
)
def test_written_base64_is_that_of_76_columns(
    pieces: list[bytes], line_end: bytes, ends_last_line: bool
) -> None:
    sink = io.BytesIO()
    writer = Base64Writer(sink, line_end, ends_last_line=ends_last_line)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    expected = base64.encodebytes(b"".join(pieces))
    if not ends_last_line:
        expected = expected.removesuffix(b"\n")
    assert sink.getvalue() == expected.replace(b"\n", line_end)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@given(raw=st.binary(max_size=300), width=st.sampled_from([4, 64, 76]), data=st.data())
def test_whatever_stands_in_the_place_of_a_line_end_is_noticed(
    line_end: bytes, raw: bytes, width: int, data: st.DataObject
) -> None:
    text = base64.b64encode(raw)
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    assert _decoded(line_end.join(lines)) == (raw, set())
    if len(lines) > 1:
        place = data.draw(st.integers(1, len(lines) - 1))
        stray = data.draw(st.sampled_from([b"!", b"\x00", b"-", b"\xff"])) * len(line_end)
        broken = line_end.join(lines[:place]) + stray + line_end.join(lines[place:])
        assert _decoded(broken) == (raw, {base64_text.STRAY_CHARACTERS})


def _decoded(text: bytes) -> tuple[bytes, set[str]]:
    noticed: set[str] = set()
    decoder = base64_text.Base64Decoder(noticed.add)
    return decoder.update(text) + decoder.finish(), noticed
