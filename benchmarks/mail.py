"""Makes mailboxes of encrypted mail for benchmarks: sizes, contents and algorithms by a seed.

Every thousand messages have the same sizes and algorithms in another order, so that mailboxes
of different size cost the same for each message.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import random
import subprocess
from base64 import encodebytes
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import exp
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.envelopes import (
    AES_128_CBC,
    AES_256_CBC,
    AES_256_GCM,
    TRIPLE_DES,
    Mode,
    Suite,
    element,
    recipient_info,
)

SEED = 2026
BLOCK = 1000
"""Messages after which sizes and algorithms begin again, in another order."""
BASE_TIME = 1_300_000_000
OWNER = "bob@example.org"
SENDER = "alice@example.org"
TEXT_BELOW = 20_000
"""Bytes of content from which most of a message is an attachment."""


@dataclass(frozen=True)
class Mix:
    """What a mailbox holds; sizes in bytes."""

    median: int
    """Of the stored message."""
    sigma: float
    """Standard deviation of the logarithm of the content's size."""
    suites: tuple[tuple[Suite, int], ...]
    """With their shares in tenths."""
    curve: bool = False
    """The recipients' keys are on P-256, else RSA-2048."""


_OF_MOST_MAIL = ((TRIPLE_DES, 2), (AES_128_CBC, 3), (AES_256_CBC, 5))
MIXES: Mapping[str, Mix] = {
    "ordinary": Mix(11_000, 2.06, _OF_MOST_MAIL),
    "archive": Mix(14_000, 2.06, _OF_MOST_MAIL),
    "small": Mix(4_000, 1.0, _OF_MOST_MAIL),
    "curve": Mix(11_000, 2.06, ((AES_256_CBC, 5), (AES_256_GCM, 5)), curve=True),
}
"""By name. 5,000 ordinary messages have 380 MB, 20,000 of an archive 2 GB."""


@dataclass(frozen=True)
class Mail:
    """A mailbox that was made, and what a judge must know of it."""

    directory: Path
    names: Sequence[str]
    """Files in ``cur``."""
    digests: Sequence[str]
    """SHA-256 of the content of each."""
    size: int
    """Bytes of the stored messages."""

    @property
    def maildir(self) -> Path:
        return self.directory / "Maildir"

    @property
    def old(self) -> Path:
        """Private key and certificate of the recipient, PEM."""
        return self.directory / "old.pem"

    @property
    def new(self) -> Path:
        """Those of the next key; the certificate alone is in ``new.crt``."""
        return self.directory / "new.pem"


def make_key(directory: Path, name: str, *, curve: bool = False, address: str = OWNER) -> Path:
    """Writes a key and a certificate into one PEM file, the certificate alone into another."""
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if curve
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


def make_maildir(directory: Path) -> Path:
    """An empty Maildir."""
    for name in ("cur", "new", "tmp"):
        (directory / "Maildir" / name).mkdir(parents=True)
    return directory / "Maildir"


def name_of(number: int) -> str:
    """The file name of a message."""
    return f"{BASE_TIME + number}.M{number}P1.host:2,S"


def make_mail(directory: Path, mix: str, messages: int, *, processes: int = 2) -> Mail:
    """Makes keys and a mailbox in a new directory.

    Args:
        directory: must not be there.
        mix: name of a mix.
        messages: how many.
        processes: that share the work.
    """
    directory.mkdir(parents=True)
    for name, address in (("old", OWNER), ("new", OWNER), ("sender", SENDER)):
        make_key(directory, name, curve=MIXES[mix].curve, address=address)
    make_maildir(directory)
    blocks = [(directory, mix, first, messages) for first in range(0, messages, BLOCK // 4)]
    if processes == 1:
        made = [each for block in blocks for each in _make_some(block)]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
            made = [each for some in pool.map(_make_some, blocks) for each in some]
    digests, sizes = zip(*made, strict=True)
    return Mail(directory, [name_of(number) for number in range(messages)], digests, sum(sizes))


def make_large(directory: Path, size: int) -> Mail:
    """The same with one message, whose content has ``size`` bytes, in chunks (BER)."""
    directory.mkdir(parents=True)
    for name in ("old", "new"):
        make_key(directory, name)
    stored = make_maildir(directory) / "cur" / name_of(0)
    inner = directory / "inner"
    with inner.open("wb") as stream:
        stream.write(b"Content-Type: text/plain\r\n\r\n")
        line = b"0123456789abcdef" * 4 + b"\r\n"
        for _ in range(size // (len(line) * 1000)):
            stream.write(line * 1000)
    with inner.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _encrypt(inner, directory / "old.crt", stored)
    inner.unlink()
    return Mail(directory, [stored.name], [digest], stored.stat().st_size)


def _encrypt(source: Path, certificate: Path, target: Path) -> None:
    """Encrypts a file with openssl as a mail program would."""
    with target.open("wb") as stream:
        stream.write(b"From: a@example.org\nSubject: benchmark\nMIME-Version: 1.0\n")
        stream.write(b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n")
        stream.write(b"Content-Transfer-Encoding: base64\n\n")
        stream.flush()
        encrypt = subprocess.Popen(
            [
                *("openssl", "cms", "-encrypt", "-binary", "-stream", "-outform", "DER"),
                *("-aes256", "-in", str(source), str(certificate)),
            ],
            stdout=subprocess.PIPE,
        )
        subprocess.run(["base64", "-w", "76"], stdin=encrypt.stdout, stdout=stream, check=True)
        assert encrypt.wait() == 0


def _make_some(what: tuple[Path, str, int, int]) -> list[tuple[str, int]]:
    directory, mix, first, messages = what
    maker = _Maker(directory, MIXES[mix])
    cur = directory / "Maildir" / "cur"
    made = []
    for number in range(first, min(first + BLOCK // 4, messages)):
        raw, digest = maker.make(number)
        path = cur / name_of(number)
        path.write_bytes(raw)
        os.utime(path, (BASE_TIME + number, BASE_TIME + number))
        made.append((digest, len(raw)))
    return made


@cache
def plan(mix: Mix, block: int) -> list[tuple[int, Suite]]:
    """Size of the content and algorithm of each message of a block.

    The sizes are the middles of equal shares of a log-normal distribution. Each ten
    neighbours in size have all algorithms, since the largest messages decide what all cost.
    """
    # Base64 in lines of 76 takes 77/57; the header and two recipients are the rest.
    median = (mix.median - 1900) * 57 / 77
    chance = random.Random(SEED)
    suites = [suite for suite, tenths in mix.suites for _ in range(tenths)]
    dealt = [suite for _ in range(0, BLOCK, 10) for suite in chance.sample(suites, 10)]
    inverse = NormalDist(sigma=mix.sigma).inv_cdf
    sizes = [int(median * exp(inverse((number + 0.5) / BLOCK))) for number in range(BLOCK)]
    planned = list(zip(sizes, dealt, strict=True))
    return random.Random(f"{SEED} {block}").sample(planned, BLOCK)


class _Maker:
    def __init__(self, directory: Path, mix: Mix) -> None:
        self._mix = mix
        self._recipients = [
            x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
            for name in ("old", "sender")
        ]

    def make(self, number: int) -> tuple[bytes, str]:
        """A message and the SHA-256 of its content."""
        size, suite = plan(self._mix, number // BLOCK)[number % BLOCK]
        chance = random.Random(f"{SEED} {number}")
        content = _content(chance, size)
        key, iv = chance.randbytes(suite.key_size), chance.randbytes(suite.iv_size)
        infos = [
            recipient_info(
                certificate.public_key(),
                element(0x30, certificate.issuer.public_bytes(), _integer(certificate)),
                key,
            )
            for certificate in self._recipients
        ]
        envelope = suite.envelope(iv, *suite.encrypt(key, iv, content), infos)
        header = _header(number, suite.mode)
        return header + encodebytes(envelope), hashlib.sha256(content).hexdigest()


def _integer(certificate: x509.Certificate) -> bytes:
    serial = certificate.serial_number
    return element(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))


def _header(number: int, mode: Mode) -> bytes:
    """What a delivered message has outside, about 1,000 bytes."""
    kind = "enveloped-data" if mode is Mode.CBC else "authEnveloped-data"
    date = datetime.datetime.fromtimestamp(BASE_TIME + number, datetime.UTC)
    when = f"{date:%a, %d %b %Y %H:%M:%S} +0000"
    hops = "".join(
        f"Received: from mx{hop}.example.org (mx{hop}.example.org [192.0.2.{hop}])\n"
        f"\tby mail{hop}.example.org (Postfix) with ESMTPS id 4F{number:08X}{hop}\n"
        f"\tfor <{OWNER}>; {when}\n"
        for hop in (1, 2, 3)
    )
    return (
        f"Return-Path: <{SENDER}>\nDelivered-To: {OWNER}\n{hops}"
        f"From: Alice Example <{SENDER}>\nTo: Bob Example <{OWNER}>\n"
        f"Subject: Minutes of meeting {number}\nDate: {when}\n"
        f"Message-ID: <{number}.{SEED}@example.org>\nMIME-Version: 1.0\n"
        f"Content-Type: application/pkcs7-mime; smime-type={kind}; name=smime.p7m\n"
        "Content-Transfer-Encoding: base64\n"
        "Content-Disposition: attachment; filename=smime.p7m\n\n"
    ).encode()


@cache
def _words() -> bytes:
    """Text in lines, of which contents are pieces."""
    chance = random.Random(SEED)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(1, 11))) for _ in range(4000)]
    lines = (" ".join(chance.choices(words, k=chance.randint(1, 11))) for _ in range(8000))
    return "\r\n".join(lines).encode()


def _text(chance: random.Random, size: int) -> bytes:
    words = _words()
    start = chance.randrange(len(words) - 20_000)
    return (
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + words[start : start + size] + b"\r\n"
    )


def _content(chance: random.Random, size: int) -> bytes:
    """Text, or a short text with an attachment."""
    if size < TEXT_BELOW:
        return _text(chance, size)
    boundary = b"=_%032x" % chance.getrandbits(128)
    attached = chance.randbytes((size - 2000) * 3 // 4)
    return (
        b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
        b"--" + boundary + b"\r\n" + _text(chance, 1500) + b"\r\n--" + boundary + b"\r\n"
        b'Content-Type: image/jpeg; name="photo.jpg"\r\nContent-Transfer-Encoding: base64\r\n'
        b'Content-Disposition: attachment; filename="photo.jpg"\r\n\r\n'
        + encodebytes(attached).replace(b"\n", b"\r\n")
        + b"\r\n--"
        + boundary
        + b"--\r\n"
    )
