"""Measures how often garbage is taken for mail.

Three kinds of trial, each closer to success than the one before: a wrong
private key, a wrong content-encryption key, random plaintext.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import random
import tempfile
import time
from base64 import encodebytes
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # older releases have it among the others
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

from sectool import cms, smime
from sectool.errors import DecryptionFailed, NotAccepted
from sectool.keys import KeyHistory, KeySpecification, load_key_history
from sectool.message import BytesContent

SERIAL_NUMBER = 0x2005
VALID_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
VALID_TO = datetime.datetime(3020, 1, 1, tzinfo=datetime.UTC)

CONTENT = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"The plans are in the blue folder, and the key to it is where it always was.\r\n"
)
SIZES = (1, 15, 31, 47, 63, 64, 70, 79, 95, 150, 300, 700, 2000, 5000)
"""Bytes of content: most of what chance could make look like text is short."""


class Trial(StrEnum):
    """How far a wrong key is helped on its way."""

    WRONG_KEY = "wrong-key"
    """Encrypted to another private key with the same issuer and serial number."""
    WRONG_CONTENT_KEY = "wrong-content-key"
    """The right private key, but it gives another content-encryption key of the right length."""
    RANDOM_PLAINTEXT = "random-plaintext"
    """What is left where the padding passes too: random bytes under the right key."""


class Algorithm(StrEnum):
    """Of the content; all CBC, which proves nothing."""

    AES_128 = "aes-128-cbc"
    AES_256 = "aes-256-cbc"
    TRIPLE_DES = "des-ede3-cbc"


@dataclass(frozen=True)
class Suite:
    """What an algorithm needs; sizes in bytes."""

    oid: bytes
    """Encoded."""
    key_size: int
    block_size: int

    def cipher(self, key: bytes, iv: bytes) -> Cipher[modes.CBC]:
        """The cipher in CBC mode."""
        algorithm = AES(key) if self.block_size == AES.block_size // 8 else TripleDES(key)
        return Cipher(algorithm, modes.CBC(iv))


SUITES = {
    Algorithm.AES_128: Suite(bytes.fromhex("0609608648016503040102"), 16, 16),
    Algorithm.AES_256: Suite(bytes.fromhex("060960864801650304012a"), 32, 16),
    Algorithm.TRIPLE_DES: Suite(bytes.fromhex("06082a864886f70d0307"), 24, 8),
}
RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
ID_DATA = bytes.fromhex("06092a864886f70d010701")


# --- keys ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """Two keys under one issuer and serial number: mail goes to one, the other is held."""

    issuer: bytes
    """The issuer Name of both certificates, DER."""
    written_to: rsa.RSAPublicKey
    held: rsa.RSAPublicKey
    directory: Path
    """With a file of the held private key and its certificate, and nothing else."""
    missing: bytes = field(default=b"", repr=False)
    """PEM of the private key that mail goes to and of its certificate."""


def make_keys(directory: Path, key_bits: int = 2048) -> Keys:
    """Makes the certificate that was renewed with another key but the old serial number."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Mail CA")])
    written_to = rsa.generate_private_key(65537, key_bits)
    held = rsa.generate_private_key(65537, key_bits)
    (directory / "held.pem").write_bytes(_pem(held, name))
    return Keys(
        name.public_bytes(),
        written_to.public_key(),
        held.public_key(),
        directory,
        _pem(written_to, name),
    )


def _pem(key: rsa.RSAPrivateKey, name: x509.Name) -> bytes:
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(SERIAL_NUMBER)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_TO)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


# --- messages --------------------------------------------------------------------------------


def element(tag: int, *parts: bytes) -> bytes:
    """DER of one element."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    octets = (len(content).bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + len(content).to_bytes(octets, "big") + content


@dataclass(frozen=True)
class Made:
    """One message, and what a judge of the trial needs to know."""

    raw: bytes
    content: bytes = field(repr=False)
    """What was encrypted."""
    encrypted: bytes = field(repr=False)
    iv: bytes
    suite: Suite


class Maker:
    """Makes the messages of a kind of trial; the same seed gives the same garbage."""

    def __init__(self, trial: Trial, keys: Keys, seed: int) -> None:
        self._trial = trial
        self._keys = keys
        self._random = random.Random(seed)
        self._suites = list(SUITES.values())

    def make(self) -> Made:
        """The next message."""
        suite = self._random.choice(self._suites)
        size = self._random.choice(SIZES)
        if self._trial is Trial.RANDOM_PLAINTEXT:
            # The garbage that passes ends, nearly always, in padding of one byte.
            size += -(size + 1) % suite.block_size
            content = self._random.randbytes(size)
        else:
            content = (CONTENT * (1 + size // len(CONTENT)))[:size]
        content_key = self._random.randbytes(suite.key_size)
        iv = self._random.randbytes(suite.block_size)
        pad = suite.block_size - len(content) % suite.block_size
        encryptor = suite.cipher(content_key, iv).encryptor()
        encrypted = encryptor.update(content + bytes((pad,)) * pad)
        raw = self._message(suite, self._encrypted_key(suite, content_key), iv, encrypted)
        return Made(raw, content, encrypted, iv, suite)

    def _encrypted_key(self, suite: Suite, content_key: bytes) -> bytes:
        if self._trial is Trial.WRONG_CONTENT_KEY:
            content_key = self._random.randbytes(suite.key_size)
        wrong = self._trial is Trial.WRONG_KEY
        public_key = self._keys.written_to if wrong else self._keys.held
        return public_key.encrypt(content_key, padding.PKCS1v15())

    def _message(self, suite: Suite, encrypted_key: bytes, iv: bytes, encrypted: bytes) -> bytes:
        serial_number = element(0x02, SERIAL_NUMBER.to_bytes(2, "big"))
        recipient = element(
            0x30,
            element(0x02, b"\0"),
            element(0x30, self._keys.issuer, serial_number),
            RSA_ENCRYPTION,
            element(0x04, encrypted_key),
        )
        algorithm = element(0x30, suite.oid, element(0x04, iv))
        content_info = element(0x30, ID_DATA, algorithm, element(0x80, encrypted))
        body = element(0x30, element(0x02, b"\0"), element(0x31, recipient), content_info)
        return HEADER + encodebytes(element(0x30, ENVELOPED_DATA, element(0xA0, body)))


HEADER = (
    b"From: a@example.org\nSubject: wrong key\nDate: Mon, 7 Jan 2019 10:00:00 +0100\n"
    b"MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n"
    b"Content-Transfer-Encoding: base64\n\n"
)


# --- trials ----------------------------------------------------------------------------------


@dataclass
class Figures:
    """What became of the messages of some trials."""

    trials: int = 0
    right_length: int = 0
    """The private key gave a content-encryption key of the length its algorithm asks for."""
    padded: int = 0
    """And the padding was whole under it."""
    review: int = 0
    """Not accepted, but left to a person."""
    accepted: int = 0
    """Taken for plaintext: must be none."""
    sizes: Counter[int] = field(default_factory=Counter)
    """Encrypted sizes of what was left to a person or accepted."""

    def add(self, other: Figures) -> None:
        """Counts the trials of another process."""
        self.trials += other.trials
        self.right_length += other.right_length
        self.padded += other.padded
        self.review += other.review
        self.accepted += other.accepted
        self.sizes += other.sizes


class _Recorded:
    """The operations of a private key; keeps what it last gave."""

    def __init__(self, operations: cms.KeyOperations) -> None:
        self._operations = operations
        self.content_encryption_key = b""

    @property
    def label(self) -> str:
        return self._operations.label

    def decrypt_rsa(self, encrypted_key: bytes, rsa_padding: cms.RSAPadding) -> bytes:
        self.content_encryption_key = b""
        found = self._operations.decrypt_rsa(encrypted_key, rsa_padding)
        self.content_encryption_key = found
        return found


class RecordingKeys:
    """A key history of one key whose content-encryption keys can be looked at."""

    def __init__(self, history: KeyHistory) -> None:
        (held,) = history.keys
        self._history = history
        self.key = _Recorded(held.operations)

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        """The key, if the history has one for this recipient."""
        return (self.key,) if self._history.find(identifier) else ()


def is_padded(made: Made, content_encryption_key: bytes) -> bool:
    """Whether the content ends in whole padding under a key; computed from its last blocks."""
    block_size = made.suite.block_size
    before = (made.iv + made.encrypted)[-2 * block_size : -block_size]
    decryptor = made.suite.cipher(content_encryption_key, before).decryptor()
    last = decryptor.update(made.encrypted[-block_size:])
    pad = last[-1]
    return 1 <= pad <= block_size and last.endswith(bytes((pad,)) * pad)


def try_one(made: Made, keys: RecordingKeys, figures: Figures) -> None:
    """Puts one message through inventory and opening, as every command does."""
    figures.trials += 1
    content = BytesContent(made.raw)
    inventory = smime.take_inventory(content)
    (part,) = inventory.parts
    try:
        smime.open_part(content, part, keys)
    except NotAccepted:
        figures.review += 1
        figures.sizes[len(made.encrypted)] += 1
    except DecryptionFailed:
        pass
    else:
        figures.accepted += 1
        figures.sizes[len(made.encrypted)] += 1
    found = keys.key.content_encryption_key
    if len(found) == made.suite.key_size:
        figures.right_length += 1
        figures.padded += is_padded(made, found)


def run_trials(trial: Trial, keys: Keys, chunk: tuple[int, int]) -> Figures:
    """The trials of one process: a seed, and how many."""
    seed, trials = chunk
    history = RecordingKeys(load_key_history(KeySpecification((keys.directory,)), None))
    maker = Maker(trial, keys, seed)
    figures = Figures()
    for _ in range(trials):
        try_one(maker.make(), history, figures)
    return figures


# Public keys do not pickle, so each process makes its own from what does.
@dataclass(frozen=True)
class PickledKeys:
    """``Keys`` on their way to another process."""

    issuer: bytes
    written_to: tuple[int, int]
    held: tuple[int, int]
    directory: Path

    @classmethod
    def of(cls, keys: Keys) -> PickledKeys:
        """To be sent."""
        return cls(keys.issuer, _numbers(keys.written_to), _numbers(keys.held), keys.directory)

    def keys(self) -> Keys:
        """As received."""
        return Keys(self.issuer, _public(self.written_to), _public(self.held), self.directory)


def _numbers(key: rsa.RSAPublicKey) -> tuple[int, int]:
    numbers = key.public_numbers()
    return numbers.e, numbers.n


def _public(numbers: tuple[int, int]) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(*numbers).public_key()


def _run_elsewhere(trial: Trial, keys: PickledKeys, chunk: tuple[int, int]) -> Figures:
    return run_trials(trial, keys.keys(), chunk)


def run_in_processes(
    trial: Trial, keys: Keys, trials: int, processes: int, *, chunk_size: int = 5000
) -> Figures:
    """Many trials; each chunk has a seed, so that the number of processes changes nothing."""
    context = multiprocessing.get_context("spawn")
    chunks = list(_chunks(trials, chunk_size))
    figures = Figures()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for part in pool.map(partial(_run_elsewhere, trial, PickledKeys.of(keys)), chunks):
            figures.add(part)
    return figures


def _chunks(trials: int, size: int) -> Iterator[tuple[int, int]]:
    for seed, start in enumerate(range(0, trials, size)):
        yield seed, min(size, trials - start)


# --- the command -----------------------------------------------------------------------------


def main() -> None:
    """Runs what the command line asks for and prints one line for each kind of trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--kind", type=Trial, choices=list(Trial), action="append")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        keys = make_keys(Path(name))
        for trial in options.kind or list(Trial):
            start = time.monotonic()
            figures = run_in_processes(trial, keys, options.trials, options.processes)
            print(
                f"{trial:18} {figures.trials} trials, right length {figures.right_length},"
                f" padded {figures.padded}, review {figures.review},"
                f" accepted {figures.accepted}, {time.monotonic() - start:.0f} s",
                flush=True,
            )
            if figures.sizes:
                print(f"  encrypted sizes: {dict(figures.sizes)}", flush=True)


if __name__ == "__main__":
    main()
