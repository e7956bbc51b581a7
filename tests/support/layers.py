"""Mail in layers: encrypted with the openssl command, forwarded, put among other parts."""

from __future__ import annotations

import subprocess

from tests.support.checker import Key

TEXT = b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe plans are in the blue folder.\r\n"
FOOTER = b"Content-Type: text/plain\r\n\r\n_____\r\nlist@example.org"
LIST_ID = b"List-Id: <list.example.org>\r\n"


def encrypt(inner: bytes, *keys: Key, options: tuple[str, ...] = ("-aes256",)) -> bytes:
    """An entity of Content-Type and encoded CMS, with CRLF, that these people open to ``inner``."""
    command = ["openssl", "cms", "-encrypt", "-binary", *options]
    certificates = [str(key.certificate) for key in keys]
    done = subprocess.run([*command, *certificates], input=inner, capture_output=True, check=True)
    text = done.stdout.replace(b"\r\n", b"\n").removeprefix(b"MIME-Version: 1.0\n")
    return text.replace(b"\n", b"\r\n")


def multipart(*parts: bytes, subtype: bytes = b"mixed", boundary: bytes = b"outer") -> bytes:
    """An entity with these entities inside."""
    lines = [b'Content-Type: multipart/%s; boundary="%s"' % (subtype, boundary), b""]
    for part in parts:
        lines += [b"--" + boundary, part]
    return b"\r\n".join([*lines, b"--" + boundary + b"--", b""])


def message(number: int, entity: bytes, fields: bytes = b"") -> bytes:
    """A message whose body is this entity, with CRLF."""
    return (
        (
            b"From: alice@example.org\r\nSubject: message %d\r\nMessage-ID: <%d@example.org>\r\n"
            b"Date: Mon, 7 Jan 2019 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
        )
        % (number, number)
        + fields
        + entity
    )


def forward(raw: bytes) -> bytes:
    """An entity that is this message, forwarded."""
    return b"Content-Type: message/rfc822\r\n\r\n" + raw


def stored(raw: bytes) -> bytes:
    """As a Maildir keeps it."""
    return raw.replace(b"\r\n", b"\n")


def clear_signed(entity: bytes, signature: bytes = b"MAA=") -> bytes:
    """A multipart/signed around an entity; the signature is none."""
    fields = b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n"
    return multipart(entity, fields + b"\r\n" + signature, subtype=b"signed", boundary=b"signed")
