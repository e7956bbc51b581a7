"""Encrypted mail inside what sectool does not unwrap is told, and never called clear."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from sectool import cms, smime
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support.wrappings import compressed, uuencoded

InventoryOf = Callable[[bytes], smime.Inventory]

OUTER = b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
TEXT = b"Content-Type: text/plain\r\n\r\nhello\r\n"
LABELLED = b"Content-Type: application/pkcs7-mime; name=smime.p7m\r\n"
OCTETS = b"Content-Type: application/octet-stream\r\n"


def entity(raw: bytes, fields: bytes = LABELLED) -> bytes:
    return fields + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(raw)


def attached(part: bytes) -> bytes:
    """An entity in which it stands beside a text."""
    delimiter = b"\r\n--b\r\n"
    head = b"Content-Type: multipart/mixed; boundary=b\r\n"
    return head + delimiter + TEXT + delimiter + part + b"\r\n--b--\r\n"


# --- compression ---------------------------------------------------------------------

COMPRESSED: dict[str, tuple[bytes, State, str]] = {
    "text": (compressed(TEXT), State.CLEAR, ""),
    "nothing": (compressed(None), State.CLEAR, ""),
    "in another way": (
        compressed(TEXT, algorithm="1.2.3"),
        State.UNSUPPORTED,
        "compression 1.2.3 is not supported",
    ),
    "not a MIME entity": (compressed(TEXT, cms.SIGNED_DATA), State.UNSUPPORTED, "signed-data"),
    "damaged": (compressed(TEXT, alter=lambda raw: raw[:9] + bytes(9)), State.MALFORMED, "damaged"),
    "cut inside": (compressed(TEXT, alter=lambda raw: raw[:-5]), State.MALFORMED, "too early"),
    "cut": (compressed(TEXT)[:-1], State.MALFORMED, "compressed, but damaged"),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_message_is_what_was_compressed(name: str, inventory_of: InventoryOf) -> None:
    raw, state, reason = COMPRESSED[name]
    inventory = inventory_of(OUTER + entity(raw))
    assert (inventory.state, inventory.parts) == (state, ())
    assert reason in inventory.reason


def test_damage_to_a_compressed_attachment_is_not_the_message(inventory_of: InventoryOf) -> None:
    raw, _, _ = COMPRESSED["damaged"]
    assert inventory_of(OUTER + attached(entity(raw))).state is State.CLEAR


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("wrap", [lambda raw: raw, attached], ids=["root", "attached"])
def test_encryption_inside_a_compression_is_told(
    wrap: Callable[[bytes], bytes], times: int, envelope: bytes, inventory_of: InventoryOf
) -> None:
    inner = entity(envelope)
    for _ in range(times):
        inner = entity(compressed(inner))
    inventory = inventory_of(OUTER + wrap(inner))
    assert inventory.state is State.UNSUPPORTED
    assert inventory.reason == "an encrypted layer lies inside a compression; it is not taken"


@pytest.mark.parametrize("most", [100, 1000])
def test_what_decompresses_to_more_than_the_limit_is_not_looked_into(most: int) -> None:
    raw = OUTER + entity(compressed(TEXT + bytes(1000)))
    with spending(Budget({**MESSAGE, Work.DECOMPRESSION: most})):
        inventory = smime.take_inventory(BytesContent(raw))
    assert inventory.state is State.UNSUPPORTED
    assert f"limit of {most:,} bytes decompressed" in inventory.reason
    assert inventory.hidden


# --- uuencode ------------------------------------------------------------------------


UUENCODED = {
    "declared": LABELLED + b"Content-Transfer-Encoding: x-uuencode\r\n\r\n",
    "declared by its other name": LABELLED + b'Content-Transfer-Encoding: "UUENCODE"\r\n\r\n',
    "not declared": LABELLED + b"\r\n",
    "without a name": OCTETS + b"Content-Transfer-Encoding: x-uue\r\n\r\n",
    "in a text": b"Content-Type: text/plain\r\n\r\nHere it is:\r\n\r\n",
    "without a header": b"\r\n",
}


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("wrap", [lambda raw: raw, attached], ids=["root", "attached"])
@pytest.mark.parametrize("name", UUENCODED)
def test_uuencoded_encryption_is_unsupported(
    name: str,
    wrap: Callable[[bytes], bytes],
    line_end: bytes,
    envelope: bytes,
    inventory_of: InventoryOf,
) -> None:
    inventory = inventory_of(OUTER + wrap(UUENCODED[name] + uuencoded(envelope, line_end)))
    assert (inventory.state, inventory.parts) == (State.UNSUPPORTED, ())
    assert "uuencoded" in inventory.reason


def test_what_is_labelled_and_declared_so_is_unsupported_whatever_it_is(
    inventory_of: InventoryOf,
) -> None:
    raw = UUENCODED["declared"] + b"nothing of that kind\r\n"
    assert inventory_of(OUTER + raw).state is State.UNSUPPORTED
    assert inventory_of(OUTER + attached(raw)).state is State.UNSUPPORTED


@pytest.mark.parametrize("name", ["without a name", "in a text", "without a header"])
def test_other_uuencoded_files_are_clear(name: str, inventory_of: InventoryOf) -> None:
    raw = UUENCODED[name] + uuencoded(b"\x89PNG\r\n" + bytes(500))
    assert inventory_of(OUTER + raw).state is State.CLEAR


def test_base64_that_is_called_uuencode_opens(envelope: bytes, inventory_of: InventoryOf) -> None:
    raw = UUENCODED["declared"] + base64.encodebytes(envelope)
    assert inventory_of(OUTER + raw).state is State.ENCRYPTED


def test_talk_of_uuencode_is_clear(inventory_of: InventoryOf) -> None:
    text = b"\r\nbegin 644 smime.p7m\r\nis how it starts\r\n" * 1000
    assert inventory_of(OUTER + text).state is State.CLEAR
