"""Envelopes that openssl opens and a careful reader gives up on: crowds, long names, depth."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass

from sectool.asn1 import der
from tests.support.checker import Key

_OID_COMMON_NAME = der.oid("2.5.4.3")
_PLAIN = b"Content-Type: text/plain\r\n\r\nwhat only the old key opens\r\n"


def _content(element: bytes) -> bytes:
    length = element[1]
    return element[2 + (length & 0x7F if length & 0x80 else 0) :]


def _elements(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    while content:
        length, header = content[1], 2
        if length & 0x80:
            header += length & 0x7F
            length = int.from_bytes(content[2:header], "big")
        found.append(content[: header + length])
        content = content[header + length :]
    return found


@dataclass(frozen=True)
class Envelope:
    """An EnvelopedData of openssl, taken apart."""

    version: bytes
    recipients: tuple[bytes, ...]
    """RecipientInfos as encoded."""
    content: bytes
    """The encryptedContentInfo as encoded."""
    attributes: bytes = b""
    """unprotectedAttrs as encoded."""

    @classmethod
    def to(cls, *keys: Key) -> Envelope:
        """One that these people open."""
        command = ["openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER"]
        command += [str(key.certificate) for key in keys]
        done = subprocess.run(command, input=_PLAIN, capture_output=True, check=True)
        _, explicit = _elements(_content(done.stdout))
        version, recipients, content = _elements(_content(_content(explicit)))
        return cls(version, tuple(_elements(_content(recipients))), content)

    @property
    def encoded(self) -> bytes:
        """The ContentInfo."""
        recipients = der.element(0x31, b"".join(self.recipients))
        parts = (self.version, recipients, self.content, self.attributes)
        enveloped = der.sequence(*filter(None, parts))
        return der.sequence(der.oid("1.2.840.113549.1.7.3"), der.explicit(0, enveloped))


def stranger(number: int, *, name_size: int = 8) -> bytes:
    """A RecipientInfo that nobody's key opens, with an issuer of at least so many bytes."""
    pieces = [b"x" * 1000] * (name_size // 1000) + [b"%08d" % number]
    name = der.sequence(
        *(
            der.element(0x31, der.sequence(_OID_COMMON_NAME, der.element(0x0C, piece)))
            for piece in pieces
        )
    )
    rsa = der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    identifier = der.sequence(name, der.integer(1))
    return der.sequence(der.integer(0), identifier, rsa, der.octet_string(b"\x01"))


def deep_attributes(depth: int) -> bytes:
    """unprotectedAttrs whose value has so many SEQUENCEs of indefinite length inside each other."""
    value = b"\x30\x80" * depth + b"\x00\x00" * depth
    attribute = der.sequence(der.oid("1.2.3.4"), der.element(0x31, value))
    return der.element(0xA1, attribute)


def entity(cms: bytes) -> bytes:
    """An entity that holds a CMS, with CRLF."""
    text = base64.encodebytes(cms).replace(b"\n", b"\r\n")
    return (
        b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" + text
    )


def opens(cms: bytes, key: Key) -> bool:
    """Whether the openssl command opens a CMS with a key, to what was encrypted."""
    command = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER"]
    command += ["-inkey", str(key.private_key), "-recip", str(key.certificate)]
    done = subprocess.run(command, input=cms, capture_output=True, check=False)
    return done.returncode == 0 and done.stdout == _PLAIN
