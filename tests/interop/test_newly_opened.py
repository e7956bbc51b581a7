"""What mail programs write oddly is opened, encrypted again, and read by all of them.

Where a program can be asked for it, it writes the message; the rest is made byte by byte.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest

from sectool import cms, smime
from sectool.asn1 import der
from sectool.cms import oids
from sectool.keys.certificates import read_certificate
from sectool.keys.history import HeldKey, KeyHistory
from sectool.message import BytesContent
from tests.cms.test_gcm_in_enveloped_data import FORMS, encrypted, envelope
from tests.interop.table import PeerName
from tests.support.agreements import WRAPS, Agreement
from tests.support.forge import Forge, Person
from tests.support.identities import certified
from tests.support.peers import Peer

PeerOf = Callable[[PeerName], Peer]
INNER = (
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"The plans are in the folder.\r\n" * 90
)
HEADER = b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\n"
READERS = (PeerName.OPENSSL, PeerName.BOUNCY_CASTLE, PeerName.THUNDERBIRD, PeerName.DEBIAN_NSS)


@dataclass(frozen=True)
class Odd:
    """A message of an odd kind."""

    make: Callable[[Forge], bytes]
    kind: str = "rsa"
    """Of the key it is to."""
    content_type: str = oids.ID_DATA


def _issuer_and_serial(forge: Forge) -> cms.IssuerAndSerialNumber:
    identifier = forge.person.recipient.identifier
    assert isinstance(identifier, cms.IssuerAndSerialNumber)
    return identifier


def _reversed_issuer(forge: Forge) -> bytes:
    identifier = _issuer_and_serial(forge)
    names = forge.person.certificate.issuer.rdns
    issuer = type(forge.person.certificate.issuer)(reversed(names)).public_bytes()
    return forge.cbc(
        INNER, recipients=[forge.recipient(identifier=replace(identifier, issuer=issuer))]
    )


def _by_value(wrap: Callable[[Forge], bytes]) -> Callable[[Forge], bytes]:
    return lambda forge: forge.cbc(
        INNER, recipients=[forge.recipient(identifier=cms.SubjectKeyIdentifier(wrap(forge)))]
    )


def _without_zero(forge: Forge) -> bytes:
    public_key = forge.person.key.public_key()
    from cryptography.hazmat.primitives.asymmetric import padding

    while True:
        encrypted_key = public_key.encrypt(bytes(range(32)), padding.PKCS1v15())
        if not encrypted_key[0]:
            break
    return forge.cbc(INNER, recipients=[forge.recipient(encrypted_key=encrypted_key[1:])])


def _other_null(forge: Forge) -> bytes:
    oid, *_ = WRAPS["aes-256-wrap"]
    info = Agreement(wrap="aes-256-wrap null").make(certified("p-256"))
    bound = der.sequence(der.oid("1.3.132.1.11.1"), der.sequence(der.oid(oid), der.NULL))
    written = der.sequence(der.oid("1.3.132.1.11.1"), der.sequence(der.oid(oid)))
    content = info[4:] if info[1] == 0x82 else info[3:]
    return forge.cbc(INNER, recipients=[der.element(0xA1, content.replace(bound, written))])


def _of_type(content_type: str, content: bytes) -> Callable[[Forge], bytes]:
    return lambda forge: forge.cbc(content).replace(der.oid(oids.ID_DATA), der.oid(content_type), 1)


def _identifier(forge: Forge) -> bytes:
    return forge.person.subject_key_identifier.value


def _public_key(forge: Forge) -> bytes:
    return read_certificate(cms_der(forge)).public_key_info


def cms_der(forge: Forge) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return forge.person.certificate.public_bytes(Encoding.DER)


SAME_SIZE_TYPE = "1.2.840.113549.1.7.99"
"""Of nobody; as long as that of data, so that lengths around it stay."""
ODD = {
    **{
        f"GCM in EnvelopedData as {form}": Odd(
            lambda forge, form=form: envelope(  # type: ignore[misc]
                forge, FORMS[form](bytes(12), 16), encrypted(INNER)
            )
        )
        for form in FORMS
    },
    "GCM in EnvelopedData with the bare nonce": Odd(
        lambda forge: envelope(
            forge, der.octet_string(bytes(16)), encrypted(INNER, nonce=bytes(16))
        )
    ),
    "a zero dropped": Odd(_without_zero),
    "the other NULL": Odd(_other_null, "p-256"),
    "issuer reversed": Odd(_reversed_issuer),
    "identifier wrapped": Odd(_by_value(lambda forge: der.octet_string(_identifier(forge)))),
    "whole public key": Odd(_by_value(_public_key)),
    "type unknown": Odd(_of_type(SAME_SIZE_TYPE, INNER), content_type=SAME_SIZE_TYPE),
    "behind a crowd": Odd(
        lambda forge: forge.cbc(
            INNER,
            recipients=[
                *[
                    forge.recipient(
                        identifier=replace(_issuer_and_serial(forge), serial_number=number),
                        encrypted_key=bytes(256),
                    )
                    for number in range(1, 3_000)
                ],
                forge.recipient(),
            ],
        )
    ),
}


def history(kind: str) -> KeyHistory:
    """The key history of the person with a key of that kind."""
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization import Encoding

    person = certified(kind)
    certificate = read_certificate(person.certificate.public_bytes(Encoding.DER))
    return KeyHistory([HeldKey(person.operations, (certificate,), Path(kind))])


def opened(raw: bytes, keys: cms.KeySource) -> tuple[bytes, str]:
    """What an envelope holds, by the way that all mail goes, and of what type it is."""
    content = BytesContent(HEADER + raw)
    (part,) = smime.take_inventory(content).parts
    inner = smime.find_opening(part, keys).inner
    sink = io.BytesIO()
    inner.write_to(sink)
    return sink.getvalue(), inner.content_type


def read_by_all(content: bytes, content_type: str, peer_of: PeerOf) -> None:
    """Encrypts it again, and holds what other programs read against it."""
    person = certified("rsa")
    sink = io.BytesIO()
    cms.seal_envelope(BytesContent(content), sink, [person.recipient], content_type=content_type)
    for name in READERS:
        assert peer_of(name).open(sink.getvalue(), person) == content, name


@pytest.mark.parametrize("name", ODD)
def test_what_is_written_oddly_is_opened_and_read_again_by_all(name: str, peer_of: PeerOf) -> None:
    odd = ODD[name]
    person = certified("rsa")
    raw = odd.make(Forge(cast(Person, person)))
    content, content_type = opened(raw, history(odd.kind))
    assert (content, content_type) == (INNER, odd.content_type)
    read_by_all(content, oids.ID_DATA, peer_of)


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_gcm_of_bouncy_castle_in_enveloped_data_is_read_again_by_all(
    bits: int, peer_of: PeerOf
) -> None:
    words = ("rsa", "enveloped", f"AES{bits}_GCM")
    raw = peer_of(PeerName.BOUNCY_CASTLE).seal(INNER, *words, to=[certified("rsa")])
    content, content_type = opened(raw, history("rsa"))
    assert (content, content_type) == (INNER, oids.ID_DATA)
    read_by_all(content, content_type, peer_of)
