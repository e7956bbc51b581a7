"""Small real mailboxes and keys, made with the openssl command."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.checker import Key

DAY = 86_400_000_000_000
"""Nanoseconds."""


def openssl(*arguments: object) -> bytes:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


NO_AUTHORITY = ("-addext", "basicConstraints=critical,CA:FALSE")
"""Without it `openssl req -x509` makes the certificate of an authority."""


@cache
def private_key(name: str, bits: int = 2048) -> bytes:
    """A PEM file of an RSA key; the same one in a process: making one takes as long as a run."""
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private_key(path: Path, name: str, bits: int = 2048) -> Path:
    """Such a file, for ``openssl req -key``; answers the path."""
    path.write_bytes(private_key(name, bits))
    path.chmod(0o600)
    return path


def _certify(key: Key, name: str, bits: int, *options: object) -> Key:
    write_private_key(key.private_key, name, bits)
    openssl(
        *("req", "-x509", "-key", key.private_key, "-days", "3650", *NO_AUTHORITY),
        *(*options, "-out", key.certificate),
    )
    return key


def make_key(
    directory: Path, name: str, address: str = "alice@example.org", *, bits: int = 2048
) -> Key:
    """A key and its certificate, which names one mail address; empty: none.

    Each command that opens mail checks its keys, which is most of its work: one of 1024 bits
    takes a seventh of the time, but nothing is encrypted anew to it.
    """
    return _certify(
        Key(directory / f"{name}.crt", directory / f"{name}.key"),
        *(name, bits, "-subj", f"/O=Example/CN={name}", "-addext", "keyUsage=keyEncipherment"),
        *(("-addext", f"subjectAltName=email:{address}") if address else ()),
    )


@dataclass(frozen=True)
class Keys:
    """Everybody's keys."""

    old: Key
    new: Key
    stranger: Key
    history: Path
    """Directory with the old key and its certificate."""
    transport: Key
    """Whom checkpoints are sealed to."""


INNER = b"Content-Type: text/plain; charset=utf-8\r\n\r\nthis is message %d\r\n"


def key_named_alike(directory: Path, name: str) -> Key:
    """A key whose certificate has the issuer and the serial number of every other such key."""
    return _certify(
        Key(directory / f"{name}.crt", directory / f"{name}.key"),
        *(f"alike {name}", 1024, "-set_serial", "7", "-subj", "/CN=alike"),
    )


def encrypted(
    number: int, key: Key, *, options: tuple[str, ...] = ("-aes256",), inner: bytes = b""
) -> bytes:
    """A stored message, LF, whose body openssl encrypted."""
    source = key.certificate.parent / f"inner-{os.getpid()}-{number}"
    source.write_bytes(inner or INNER % number)
    try:
        smime = openssl("cms", "-encrypt", "-binary", *options, "-in", source, key.certificate)
    finally:
        source.unlink()
    header, _, body = smime.replace(b"\r\n", b"\n").partition(b"\n\n")
    # Header lines before, between and after those of the encrypted body.
    lines = header.split(b"\n")
    outer = [
        b"Received: from a.example.org by b.example.org;\n\tMon, 7 Jan 2019 10:00:00 +0100",
        b"Subject: message %d" % number,
        *lines,
        b"Date: Mon, 7 Jan 2019 10:00:00 +0100",
        b"Message-ID: <%d@example.org>" % number,
        b"X-Odd:no space",
    ]
    return b"\n".join(outer) + b"\n\n" + body


CLEAR = b"Subject: hello\nMessage-ID: <clear@example.org>\n\nnothing to hide\n"


@dataclass(frozen=True)
class Mail:
    """One message to be put in a Maildir."""

    folder: str
    name: str
    raw: bytes


def fill(maildir: Path, mail: list[Mail]) -> None:
    """Makes a Maildir++ of these messages, each a day older than the next."""
    for folder in {"", ".Sent", *(entry.folder for entry in mail)}:
        for state in ("cur", "new", "tmp"):
            (maildir / folder / state).mkdir(parents=True, exist_ok=True)
    for number, entry in enumerate(mail):
        path = maildir / entry.folder / entry.name
        path.write_bytes(entry.raw)
        path.chmod(0o600)
        time = 1_300_000_000_123_456_789 + number * DAY
        os.utime(path, ns=(time, time))
