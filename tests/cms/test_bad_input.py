"""Envelopes of every form open to their content, and damaged ones fail as their damage asks for.

The numbers B.. are those of the list of bad inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sectool import cms
from sectool.cms import der, oids
from sectool.cms.seams import OAEP
from sectool.errors import (
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    MessageError,
    MissingKey,
    UnsupportedMessage,
)
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Case = Callable[["Forge"], bytes]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
UNKNOWN_RECIPIENT = der.element(0xA9, der.integer(0))
KEK_RECIPIENT = der.element(
    0xA2,
    der.integer(4)
    + der.sequence(der.octet_string(b"list"))
    + der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
    + der.octet_string(bytes(40)),
)
PASSWORD_RECIPIENT = der.element(
    0xA3,
    der.integer(0)
    + der.sequence(der.oid("1.2.840.113549.1.9.16.3.9"))
    + der.octet_string(bytes(48)),
)
OTHER_RECIPIENT = der.element(0xA4, der.oid("1.2.3.4") + der.sequence(der.integer(1)))
ATTRIBUTE_ONE = der.sequence(der.oid("1.2.3.4"), der.set_of([der.integer(5)]))
ATTRIBUTE_TWO = der.sequence(der.oid("1.2.3.5"), der.set_of([der.octet_string(b"x")]))
ATTRIBUTES = der.element(0xA1, ATTRIBUTE_ONE + ATTRIBUTE_TWO)
SHA256_ALGORITHM = der.sequence(der.oid(oids.SHA256), der.NULL)


def oaep(*parameters: bytes) -> bytes:
    return der.sequence(der.oid(oids.RSAES_OAEP), *parameters)


def _mgf1(hash_algorithm: bytes) -> bytes:
    return der.sequence(der.oid(oids.MGF1), hash_algorithm)


_OAEP = oaep(
    der.sequence(der.explicit(0, SHA256_ALGORITHM), der.explicit(1, _mgf1(SHA256_ALGORITHM)))
)


def _with_tag(forge: Forge, *, size: int, declared: int | None) -> bytes:
    return forge.gcm(tag_size=declared, tag=lambda tag: (tag + bytes(16))[:size])


def _definite_nest(depth: int) -> bytes:
    headers: list[bytes] = []
    length = 0
    for _ in range(depth):
        headers.append(der.header(0x24, length))
        length += len(headers[-1])
    return b"".join(reversed(headers))


def indefinite(identifier: int, *parts: bytes) -> bytes:
    return bytes((identifier, 0x80)) + b"".join(parts) + b"\0\0"


def segments(raw: bytes, size: int) -> list[bytes]:
    return [der.octet_string(raw[start : start + size]) for start in range(0, len(raw), size)]


def flip(raw: bytes, position: int) -> bytes:
    altered = bytearray(raw)
    altered[position] ^= 1
    return bytes(altered)


GOOD: dict[str, Case] = {
    "cbc": lambda forge: forge.cbc(),
    "gcm": lambda forge: forge.gcm(),
    "B04-trailing-bytes": lambda forge: forge.cbc() + b"\r\n\0garbage",
    "B05-segments": lambda forge: forge.cbc(
        field=indefinite(0xA0, *segments(_encrypted(forge), 7))
    ),
    "B05-nested-segments": lambda forge: forge.cbc(
        field=indefinite(
            0xA0,
            indefinite(0x24, *segments(_encrypted(forge)[:30], 8)),
            der.element(0x24, b"".join(segments(_encrypted(forge)[30:], 11))),
        )
    ),
    "B05-indefinite-throughout": lambda forge: _indefinite_throughout(
        forge, indefinite(0xA0, *segments(_encrypted(forge), 16))
    ),
    "B05-indefinite-around-primitive-content": lambda forge: _indefinite_throughout(
        forge, der.element(0x80, _encrypted(forge))
    ),
    "B12-garbage-recipient-first": lambda forge: forge.cbc(
        recipients=[forge.recipient(encrypted_key=bytes(256)), forge.recipient()]
    ),
    "B12-wrong-key-size-first": lambda forge: forge.cbc(
        recipients=[forge.recipient(key=bytes(16)), forge.recipient()]
    ),
    "B12-twice-the-same": lambda forge: forge.cbc(recipients=[forge.recipient()] * 2),
    "B13-probe-second": lambda forge: forge.cbc(
        recipients=[forge.recipient(), forge.recipient(encrypted_key=b"\xff" * 256)]
    ),
    "B14-other-kinds": lambda forge: forge.cbc(
        recipients=[
            UNKNOWN_RECIPIENT,
            KEK_RECIPIENT,
            PASSWORD_RECIPIENT,
            OTHER_RECIPIENT,
            forge.recipient(),
        ]
    ),
    "B15-version": lambda forge: forge.cbc(version=77),
    "B19-attributes": lambda forge: forge.cbc(after=der.element(0xA1, ATTRIBUTE_ONE * 20_000)),
    "B20-originator": lambda forge: forge.cbc(
        before=der.element(0xA0, der.element(0xA0, der.sequence(bytes(5_000_000))))
    ),
    "B33-tag-of-16-undeclared": lambda forge: forge.gcm(tag_size=None),
    "B33-tag-of-12-undeclared": lambda forge: forge.gcm(tag_size=None, tag=lambda tag: tag[:12]),
    "B33-tag-of-13": lambda forge: forge.gcm(tag_size=13, tag=lambda tag: tag[:13]),
    "B36-attributes": lambda forge: forge.gcm(attributes=ATTRIBUTES),
    "B36-attributes-not-in-der": lambda forge: forge.gcm(
        attributes=indefinite(0xA1, ATTRIBUTE_TWO, ATTRIBUTE_ONE), signed_attributes=ATTRIBUTES
    ),
    "B36-unauthenticated-attributes": lambda forge: forge.gcm(
        after=der.element(0xA2, ATTRIBUTE_ONE)
    ),
    "B37-sha512": lambda forge: forge.cbc(
        recipients=[forge.recipient(rsa_padding=OAEP("sha512", "sha512"))]
    ),
    "B37-mixed-hashes-and-label": lambda forge: forge.cbc(
        recipients=[forge.recipient(rsa_padding=OAEP("sha256", "sha1", b"label"))]
    ),
    "B37-all-defaults": lambda forge: forge.cbc(recipients=[forge.recipient(rsa_padding=OAEP())]),
    "rsa-without-parameters": lambda forge: forge.cbc(
        recipients=[forge.recipient(algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION)))]
    ),
    "subject-key-identifier": lambda forge: forge.cbc(
        recipients=[forge.recipient(identifier=forge.person.subject_key_identifier)]
    ),
}


def _encrypted(forge: Forge) -> bytes:
    """The encrypted content of ``forge.cbc()``, which is the same every time."""
    raw = forge.cbc()
    return raw[-(len(CONTENT) + 16 - len(CONTENT) % 16) :]


def _indefinite_throughout(forge: Forge, field: bytes) -> bytes:
    algorithm = der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(range(100, 116))))
    content_info = indefinite(0x30, der.oid(oids.ID_DATA), algorithm, field)
    recipient_infos = indefinite(0x31, forge.recipient())
    envelope = indefinite(0x30, der.integer(0), recipient_infos, content_info)
    return indefinite(0x30, der.oid(oids.ENVELOPED_DATA), indefinite(0xA0, envelope))


BAD: dict[str, tuple[Case, type[MessageError]]] = {
    "B01-empty": (lambda forge: b"", MalformedMessage),
    "B03-last-byte": (lambda forge: forge.cbc()[:-1], MalformedMessage),
    "B06-indefinite-10k-deep": (
        lambda forge: forge.cbc(field=indefinite(0xA0, b"\x24\x80" * 10_000 + bytes(20_000))),
        LimitExceeded,
    ),
    "B07-definite-10k-deep": (
        lambda forge: forge.cbc(field=der.element(0xA0, _definite_nest(10_000))),
        LimitExceeded,
    ),
    "B08-content-of-2^62": (
        lambda forge: forge.cbc(field=indefinite(0xA0, der.header(4, 2**62))),
        MalformedMessage,
    ),
    "B10-no-recipients": (lambda forge: forge.cbc(recipients=[]), MalformedMessage),
    "B11-too-many-of-mine": (
        lambda forge: forge.cbc(recipients=[forge.recipient()] * 10_000),
        LimitExceeded,
    ),
    "B13-only-probes": (
        lambda forge: forge.cbc(recipients=[forge.recipient(key=bytes(31))]),
        DecryptionFailed,
    ),
    "B14-only-other-kinds": (
        lambda forge: forge.cbc(recipients=[KEK_RECIPIENT, UNKNOWN_RECIPIENT]),
        MissingKey,
    ),
    "B14-key-agreement-of-mine": (
        lambda forge: forge.cbc(recipients=[_key_agreement(forge)]),
        MalformedMessage,
    ),
    "B16-signed-inside-enveloped-label": (
        lambda forge: forge.cbc(content_type=oids.SIGNED_DATA),
        MalformedMessage,
    ),
    "B16-enveloped-with-a-set-inside": (
        lambda forge: der.sequence(
            der.oid(oids.ENVELOPED_DATA), der.explicit(0, der.set_of([der.integer(0)]))
        ),
        MalformedMessage,
    ),
    "B17-detached": (lambda forge: forge.cbc(field=b""), MalformedMessage),
    "B18-empty": (lambda forge: forge.cbc(encrypted=b""), MalformedMessage),
    "B18-empty-segments": (
        lambda forge: forge.cbc(field=indefinite(0xA0, der.octet_string(b""))),
        MalformedMessage,
    ),
    "B22-wrong-key-oaep": (
        lambda forge: forge.cbc(
            recipients=[forge.recipient(encrypted_key=bytes(255) + b"\x09", algorithm=_OAEP)]
        ),
        DecryptionFailed,
    ),
    "B26-key-of-wrong-length": (
        lambda forge: forge.cbc(recipients=[forge.recipient(key=bytes(24))]),
        DecryptionFailed,
    ),
    "B27-not-whole-blocks": (
        lambda forge: forge.cbc(encrypted=bytes(47)),
        MalformedMessage,
    ),
    "B28-padding-0x00": (lambda forge: forge.cbc(padded=bytes(32)), DecryptionFailed),
    "B28-padding-0x11": (lambda forge: forge.cbc(padded=b"\x11" * 32), DecryptionFailed),
    "B28-padding-differs": (
        lambda forge: forge.cbc(padded=bytes(28) + b"\x03\x04\x04\x04"),
        DecryptionFailed,
    ),
    "B29-iv-too-short": (lambda forge: forge.cbc(iv=bytes(8)), MalformedMessage),
    "B29-iv-empty": (lambda forge: forge.cbc(iv=b""), MalformedMessage),
    "B29-iv-1-kb": (lambda forge: forge.cbc(iv=bytes(1024)), MalformedMessage),
    "B29-iv-missing": (
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid(oids.AES_256_CBC))),
        MalformedMessage,
    ),
    "B30-last-block-altered": (
        lambda forge: forge.cbc(encrypted=flip(_encrypted(forge), -17)),
        DecryptionFailed,
    ),
    "B32-tag-altered": (lambda forge: forge.gcm(tag=lambda tag: flip(tag, 15)), DecryptionFailed),
    "B32-tag-of-12-altered": (
        lambda forge: forge.gcm(tag_size=None, tag=lambda tag: flip(tag[:12], 11)),
        DecryptionFailed,
    ),
    **{
        f"B33-tag-of-{size}-declared-{declared}": (
            partial(_with_tag, size=size, declared=declared),
            MalformedMessage,
        )
        for size, declared in [
            (0, None),
            (1, 1),
            (4, 4),
            (8, 8),
            (8, None),
            (14, None),
            (12, 16),
            (16, 12),
            (17, None),
            (17, 17),
            (0, 0),
            (16, -16),
        ]
    },
    "B34-auth-enveloped-cbc": (
        lambda forge: forge.cbc(
            content_type=oids.AUTH_ENVELOPED_DATA, after=der.octet_string(bytes(16))
        ),
        MalformedMessage,
    ),
    "B34-auth-enveloped-ofb": (
        lambda forge: forge.gcm(oid="2.16.840.1.101.3.4.1.43"),
        UnsupportedMessage,
    ),
    "B34-mac-missing": (
        lambda forge: forge.cbc(content_type=oids.AUTH_ENVELOPED_DATA),
        MalformedMessage,
    ),
    "B35-gcm-in-enveloped": (
        lambda forge: forge.cbc(
            algorithm=der.sequence(
                der.oid(oids.AES_256_GCM),
                der.sequence(der.octet_string(bytes(12)), der.integer(16)),
            )
        ),
        MalformedMessage,
    ),
    "B36-attributes-altered": (
        lambda forge: forge.gcm(
            attributes=ATTRIBUTES, signed_attributes=der.element(0xA1, ATTRIBUTE_ONE)
        ),
        DecryptionFailed,
    ),
    "B37-parameters-missing": (
        lambda forge: forge.cbc(recipients=[forge.recipient(algorithm=oaep())]),
        MalformedMessage,
    ),
    "B37-parameters-null": (
        lambda forge: forge.cbc(recipients=[forge.recipient(algorithm=oaep(der.NULL))]),
        MalformedMessage,
    ),
    "B37-parameters-octets": (
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=oaep(der.octet_string(b"junk")))]
        ),
        MalformedMessage,
    ),
    "B37-fields-out-of-order": (
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(
                        der.sequence(
                            der.explicit(1, _mgf1(SHA256_ALGORITHM)),
                            der.explicit(0, SHA256_ALGORITHM),
                        )
                    )
                )
            ]
        ),
        MalformedMessage,
    ),
    "B37-field-unknown": (
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=oaep(der.sequence(der.explicit(3, der.NULL))))]
        ),
        MalformedMessage,
    ),
    "B37-hash-unknown": (
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(
                        der.sequence(der.explicit(0, der.sequence(der.oid("1.2.840.113549.2.5"))))
                    )
                )
            ]
        ),
        UnsupportedMessage,
    ),
    "B37-mgf-unknown": (
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(der.sequence(der.explicit(1, der.sequence(der.oid("1.2.3")))))
                )
            ]
        ),
        UnsupportedMessage,
    ),
    "rsa-with-parameters": (
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION), der.sequence())
                )
            ]
        ),
        MalformedMessage,
    ),
    "B39-content-encryption": (
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid("1.2.3.4.5"), der.NULL)),
        UnsupportedMessage,
    ),
    "B39-key-encryption": (
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=der.sequence(der.oid("1.2.3.4.5")))]
        ),
        UnsupportedMessage,
    ),
    "B38-rc4": (
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid("1.2.840.113549.3.4"), der.NULL)),
        UnsupportedMessage,
    ),
    "B44-nonce-of-0": (lambda forge: forge.gcm(nonce=b""), MalformedMessage),
    "B44-nonce-of-8": (lambda forge: forge.gcm(nonce=bytes(8)), UnsupportedMessage),
    "B44-nonce-of-16": (lambda forge: forge.gcm(nonce=bytes(16)), UnsupportedMessage),
}


def _key_agreement(forge: Forge) -> bytes:
    identifier = forge.person.recipient.identifier
    encrypted_key = der.sequence(
        der.sequence(identifier.issuer, der.integer(identifier.serial_number)),
        der.octet_string(bytes(40)),
    )
    return der.element(
        0xA1,
        der.integer(3)
        + der.explicit(0, der.explicit(1, b""))
        + der.sequence(der.oid("1.3.132.1.11.1"))
        + der.sequence(encrypted_key),
    )


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_an_envelope_opens_to_its_content(case: Case, forge: Forge, open_as_bob: OpenBytes) -> None:
    _, content = open_as_bob(case(forge))
    assert content == CONTENT


@pytest.mark.parametrize(("case", "error"), BAD.values(), ids=BAD)
def test_a_bad_envelope_fails_as_its_kind(
    case: Case, error: type[MessageError], forge: Forge, open_as_bob: OpenBytes
) -> None:
    with pytest.raises(MessageError) as caught:
        open_as_bob(case(forge))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "case",
    [case for case, error in BAD.values() if error is DecryptionFailed],
    ids=[name for name, (_, error) in BAD.items() if error is DecryptionFailed],
)
def test_every_failed_decryption_says_the_same(
    case: Case, forge: Forge, open_as_bob: OpenBytes
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        open_as_bob(case(forge))
    assert str(caught.value) == DecryptionFailed.TEXT


@pytest.mark.parametrize("make", [lambda forge: forge.cbc(), lambda forge: forge.gcm()])
def test_an_envelope_cut_at_any_byte_is_malformed(
    make: Case, forge: Forge, open_as_bob: OpenBytes
) -> None:
    raw = make(forge)
    for length in range(len(raw)):
        with pytest.raises(MalformedMessage):
            open_as_bob(raw[:length])


@settings(max_examples=300, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)
)
@pytest.mark.parametrize("kind", ["cbc", "gcm", "segments"])
def test_altered_bytes_raise_only_errors_of_ours(
    kind: str, flips: list[tuple[int, int]], forge: Forge, open_as_bob: OpenBytes
) -> None:
    case = GOOD["B05-nested-segments"] if kind == "segments" else GOOD[kind]
    raw = bytearray(case(forge))
    for position, octet in flips:
        raw[position % len(raw)] = octet
    with suppress(MessageError):
        open_as_bob(bytes(raw))


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_errors_of_ours(raw: bytes) -> None:
    for reading in (
        lambda: cms.describe_envelope(BytesContent(raw)),
        lambda: cms.identify(BytesContent(raw).open()),
    ):
        with suppress(MalformedMessage):
            reading()
