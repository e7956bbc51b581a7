"""S/MIME in TNEF is recognised wherever it lies, and TNEF without it is clear."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from sectool import cms, smime
from sectool.asn1 import der
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support.wrappings import ATTACHMENT, ATTACHMENT_DATA, attribute, tnef

InventoryOf = Callable[[bytes], smime.Inventory]

MESSAGE = 1
MESSAGE_CLASS, ATTACHMENT_TITLE = 0x00078008, 0x00018010
MESSAGE_PROPERTIES, ATTACHMENT_PROPERTIES = 0x00069003, 0x00069005
SHORT, LONG, BOOLEAN, OBJECT, STRING_8, STRING, TIME, GUID, BINARY = (
    *(2, 3, 0x0B, 0x0D, 0x1E, 0x1F, 0x40, 0x48, 0x102),
)
EMBEDDED_MESSAGE = bytes.fromhex("0703020000000000c000000000000046")
OLE_STORAGE = bytes.fromhex("0b00000000000000c000000000000046")


def fixed(name: int, kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, name) + value + bytes(-len(value) % 4)


def variable(name: int, kind: int, *values: bytes, naming: bytes = b"") -> bytes:
    head = struct.pack("<HH", kind, name) + naming + struct.pack("<I", len(values))
    return head + b"".join(
        struct.pack("<I", len(value)) + value + bytes(-len(value) % 4) for value in values
    )


def properties(*each: bytes) -> bytes:
    return struct.pack("<I", len(each)) + b"".join(each)


NAMED = bytes(16) + struct.pack("<II", 1, 10) + "name\0".encode("utf-16-le") + b"\0\0"
NUMBERED = bytes(16) + struct.pack("<II", 0, 0x8503)
OTHERS = (
    fixed(0x0017, LONG, struct.pack("<I", 1)),
    fixed(0x0029, BOOLEAN, b"\1\0"),
    fixed(0x0039, TIME, bytes(8)),
    fixed(0x3FDE, SHORT, b"\1\0"),
    fixed(0x120B, GUID, bytes(16)),
    struct.pack("<HHI", 0x1000 | SHORT, 0x1234, 3) + bytes(8),
    struct.pack("<HHI", 0x1000 | LONG, 0x1235, 3) + bytes(12),
    variable(0x1236, 0x1000 | STRING, "a\0".encode("utf-16-le"), "bc\0".encode("utf-16-le")),
    variable(0x8001, STRING_8, b"x\0", naming=NAMED),
    variable(0x8002, STRING_8, b"y\0", naming=NUMBERED),
    variable(0x0037, STRING_8, b"About IPM.Note.SMIME\0"),
)
"""Properties of all kinds that say nothing of S/MIME."""


def classed(name: str, kind: int = STRING_8) -> bytes:
    text = f"{name}\0".encode("latin-1" if kind == STRING_8 else "utf-16-le")
    return attribute(MESSAGE, MESSAGE_PROPERTIES, properties(*OTHERS, variable(0x001A, kind, text)))


def embedded(inner: bytes, identifier: bytes = EMBEDDED_MESSAGE) -> bytes:
    data = variable(0x3701, OBJECT, identifier + inner)
    return attribute(ATTACHMENT, ATTACHMENT_PROPERTIES, properties(*OTHERS, data))


def winmail(raw: bytes, media_type: bytes = b"application/ms-tnef; name=winmail.dat") -> bytes:
    """A stored message with that TNEF beside its text."""
    return (
        b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n\r\nsee below\r\n--b\r\nContent-Type: " + media_type + b"\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(raw) + b"--b--\r\n"
    )


SIGNED = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(bytes(40))))


def holders(envelope: bytes) -> dict[str, tuple[bytes, str]]:
    """TNEF with S/MIME inside, and what is said of it."""
    attached = attribute(ATTACHMENT, ATTACHMENT_DATA, envelope)
    data = properties(*OTHERS, variable(0x3701, BINARY, envelope))
    smime_class = attribute(MESSAGE, MESSAGE_CLASS, b"IPM.Note.SMIME\0")
    return {
        "class": (tnef(smime_class), "message class IPM.Note.SMIME"),
        "class of Exchange": (
            tnef(attribute(MESSAGE, MESSAGE_CLASS, b"IPM.Note.Secure\0")),
            "message class IPM.Note.Secure",
        ),
        "class as a property": (tnef(classed("IPM.Note.SMIME")), "message class IPM.Note.SMIME"),
        "class as a property in UTF-16": (
            tnef(classed("IPM.Note.SMIME", STRING)),
            "message class IPM.Note.SMIME",
        ),
        "class with more behind it": (
            tnef(classed("ipm.schedule.meeting.request.smime")),
            "message class ipm.schedule.meeting.request.smime",
        ),
        "attachment": (tnef(attached), "CMS enveloped-data"),
        "attachment after another": (
            tnef(attribute(ATTACHMENT, ATTACHMENT_DATA, b"%PDF" + bytes(9000)), attached),
            "CMS enveloped-data",
        ),
        "attachment as a property": (
            tnef(attribute(ATTACHMENT, ATTACHMENT_PROPERTIES, data)),
            "CMS enveloped-data",
        ),
        "embedded message": (tnef(embedded(tnef(attached))), "CMS enveloped-data"),
        "embedded in an embedded message": (
            tnef(embedded(tnef(embedded(tnef(smime_class))))),
            "message class IPM.Note.SMIME",
        ),
        "behind a damaged attribute": (
            tnef(
                attribute(MESSAGE, MESSAGE_PROPERTIES, b"\xff\xff\xff\xff\x99\x99\0\0"),
                attribute(MESSAGE, MESSAGE_PROPERTIES, properties(*OTHERS)[:-20]),
                attached,
            ),
            "CMS enveloped-data",
        ),
        "with nothing behind it": (
            tnef(attached) + b"\0\0\0\0garbage",
            "CMS enveloped-data",
        ),
    }


@pytest.mark.parametrize(
    "media_type",
    [b"application/ms-tnef; name=winmail.dat", b"application/octet-stream", b"application/x-tnef"],
)
@pytest.mark.parametrize("name", holders(b""))
def test_smime_in_tnef_is_unsupported_and_named(
    name: str, media_type: bytes, envelope: bytes, inventory_of: InventoryOf
) -> None:
    raw, found = holders(envelope)[name]
    inventory = inventory_of(winmail(raw, media_type))
    assert (inventory.state, inventory.parts) == (State.UNSUPPORTED, ())
    assert inventory.reason == f"S/MIME in TNEF (winmail.dat) is not taken: {found}"


CLEAR = {
    "note": tnef(attribute(MESSAGE, MESSAGE_CLASS, b"IPM.Microsoft Mail.Note\0")),
    "note with properties": tnef(classed("IPM.Note")),
    "signed in clear": tnef(classed("IPM.Note.SMIME.MultipartSigned")),
    "signed by Exchange": tnef(classed("IPM.Note.Secure.Sign")),
    "file": tnef(
        attribute(ATTACHMENT, ATTACHMENT_TITLE, b"plans.pdf\0"),
        attribute(ATTACHMENT, ATTACHMENT_DATA, b"%PDF-1.4" + bytes(5000)),
    ),
    "signed document": tnef(attribute(ATTACHMENT, ATTACHMENT_DATA, SIGNED)),
    "empty file": tnef(attribute(ATTACHMENT, ATTACHMENT_DATA, b"")),
    "embedded message": tnef(embedded(tnef(classed("IPM.Note")))),
    "object of another kind": tnef(embedded(b"IPM.Note.SMIME", OLE_STORAGE)),
    "embedded message that is none": tnef(embedded(b"IPM.Note.SMIME")),
    "nothing": tnef(),
    "only its signature": b"\x78\x9f\x3e\x22",
    "cut": tnef(classed("IPM.Note"))[:-20],
    "attribute longer than the rest": tnef() + struct.pack("<BII", 1, 0x8005, 2**32 - 1),
}


@pytest.mark.parametrize("name", CLEAR)
def test_tnef_without_smime_is_clear(name: str, inventory_of: InventoryOf) -> None:
    inventory = inventory_of(winmail(CLEAR[name]))
    assert (inventory.state, inventory.reason) == (State.CLEAR, "")


def _deep(depth: int) -> bytes:
    raw = tnef()
    for _ in range(depth):
        raw = tnef(embedded(raw))
    return raw


BOUNDED = {
    "attributes": (tnef(attribute(MESSAGE, 0x00018004, b"") * 100_000), "too many attributes"),
    "properties": (
        tnef(
            attribute(
                MESSAGE,
                MESSAGE_PROPERTIES,
                struct.pack("<I", 2**32 - 1) + OTHERS[0] * 100_000,
            )
        ),
        "too many attributes",
    ),
    "values": (
        tnef(
            attribute(MESSAGE, MESSAGE_PROPERTIES, properties(variable(1, BINARY, *[b""] * 99_999)))
        ),
        "too many attributes",
    ),
    "depth": (_deep(20), "nested too deep"),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_every_bound_is_kept(name: str, inventory_of: InventoryOf) -> None:
    raw, reason = BOUNDED[name]
    inventory = inventory_of(winmail(raw))
    assert inventory.state is State.UNSUPPORTED
    assert reason in inventory.reason


def test_messages_inside_each_other_within_the_bound_are_clear(inventory_of: InventoryOf) -> None:
    assert inventory_of(winmail(_deep(8))).state is State.CLEAR


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(st.data())
def test_no_damage_whatever_makes_it_raise(data: st.DataObject) -> None:
    raw = bytearray(_deep(2) + tnef(classed("IPM.Note"))[6:])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    inventory = smime.take_inventory(BytesContent(winmail(bytes(raw))))
    assert inventory.state in {State.CLEAR, State.MALFORMED, State.UNSUPPORTED}
