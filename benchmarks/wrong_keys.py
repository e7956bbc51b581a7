"""Measures how often garbage is taken for mail.

Four kinds of trial, each closer to success than the one before: another
recipient's name, a wrong private key under the right name, a wrong
content-encryption key, random plaintext. Wrong private keys are tried with
PKCS#1 v1.5, OAEP and ECDH, each with content in CBC and GCM.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.envelopes import KeyEncryption, Mode
from benchmarks.wrong_key_mail import (
    Keys,
    Kind,
    Made,
    Maker,
    Trial,
    make_curve_keys,
    make_keys,
)
from sectool import cms, smime
from sectool.errors import DecryptionFailed, MissingKey, NotAccepted
from sectool.jobs.work.open_with import find_opening
from sectool.keys import KeyHistory, KeySpecification, load_key_history, recipient_of
from sectool.keys.history import HeldOperations, PortableKey
from sectool.message import BytesContent
from sectool.outcome import RecipientKey

SHARES: Mapping[Kind, int] = {
    Kind(Trial.WRONG_KEY, KeyEncryption.PKCS1V15, Mode.CBC): 40,
    Kind(Trial.WRONG_KEY, KeyEncryption.PKCS1V15, Mode.GCM): 15,
    Kind(Trial.WRONG_KEY, KeyEncryption.OAEP, Mode.CBC): 10,
    Kind(Trial.WRONG_KEY, KeyEncryption.OAEP, Mode.GCM): 10,
    Kind(Trial.WRONG_KEY, KeyEncryption.ECDH, Mode.CBC): 10,
    Kind(Trial.WRONG_KEY, KeyEncryption.ECDH, Mode.GCM): 10,
    Kind(Trial.OTHER_NAME, KeyEncryption.PKCS1V15, Mode.CBC): 2,
    Kind(Trial.OTHER_NAME, KeyEncryption.OAEP, Mode.GCM): 1,
    Kind(Trial.OTHER_NAME, KeyEncryption.ECDH, Mode.CBC): 2,
}
"""Hundredths of the trials with wrong private keys: most where least speaks against garbage."""
ON_TRIAL: Mapping[Kind, int] = {
    Kind(Trial.ON_TRIAL, KeyEncryption.PKCS1V15, Mode.CBC): 70,
    Kind(Trial.ON_TRIAL, KeyEncryption.PKCS1V15, Mode.GCM): 10,
    Kind(Trial.ON_TRIAL, KeyEncryption.OAEP, Mode.CBC): 10,
    Kind(Trial.ON_TRIAL, KeyEncryption.ECDH, Mode.CBC): 10,
}
"""The same of wrong private keys that are tried on a certificate which is not at hand."""
HELPED = (
    Kind(Trial.WRONG_CONTENT_KEY, mode=Mode.CBC),
    Kind(Trial.WRONG_CONTENT_KEY, mode=Mode.GCM),
    Kind(Trial.RANDOM_PLAINTEXT),
)
"""Kinds in which a wrong key had all the luck it needs, up to a point."""


@dataclass
class Figures:
    """What became of the messages of some trials."""

    trials: int = 0
    right_length: int = 0
    """The private key gave a content-encryption key of the length its algorithm asks for."""
    padded: int = 0
    """And the padding of CBC content was whole under it."""
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

    def __str__(self) -> str:
        return (
            f"{self.trials} trials, right length {self.right_length}, padded {self.padded},"
            f" review {self.review}, accepted {self.accepted}"
        )


class _Recorded:
    """The operations of a private key; keeps what it gave for one message."""

    def __init__(self, operations: HeldOperations) -> None:
        self._operations = operations
        self.found: list[bytes] = []

    @property
    def label(self) -> str:
        return self._operations.label

    @property
    def public_key_info(self) -> bytes:
        return self._operations.public_key_info

    @property
    def algorithm(self) -> str:
        return self._operations.algorithm

    @property
    def is_on_token(self) -> bool:
        return False

    @property
    def portable(self) -> PortableKey:
        return self._operations.portable

    def called(self, _label: str) -> HeldOperations:
        return self

    def decrypt_rsa(self, encrypted_key: bytes, rsa_padding: cms.RSAPadding) -> bytes:
        found = self._operations.decrypt_rsa(encrypted_key, rsa_padding)
        self.found.append(found)
        return found

    def agree(self, public_key: bytes) -> bytes:
        return self._operations.agree(public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        return self._operations.decapsulate(ciphertext)


class RecordingKeys:
    """A key history of one key whose content-encryption keys can be looked at."""

    def __init__(self, history: KeyHistory) -> None:
        (held,) = history.keys
        self._history = history
        self.key = _Recorded(held.operations)

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        """The key, if the history has one for this recipient."""
        return (self.key,) if self._history.find(identifier) else ()

    def open(self, part: smime.EncryptedPart) -> None:
        """As mail is opened that names the key.

        Raises:
            MessageError: as ``smime.find_opening``.
        """
        smime.find_opening(part, self)


class KeysOnTrial(RecordingKeys):
    """The same key, tried on whatever certificate mail names."""

    def __init__(self, history: KeyHistory) -> None:
        super().__init__(history)
        (held,) = history.keys
        self._history = KeyHistory([replace(held, operations=self.key)])
        self._digest = held.public_key_digest
        self._alone: dict[RecipientKey, KeyHistory] = {}

    def open(self, part: smime.EncryptedPart) -> None:
        """As a trial opens it.

        Raises:
            MessageError: as ``find_opening``.
        """
        (recipient,) = part.envelope.recipients
        assert recipient.identifier is not None
        assert not self._history.find(recipient.identifier)
        name = recipient_of(recipient.identifier)
        if name not in self._alone:
            self._alone[name] = self._history.alone(self._digest, name)
        find_opening(part, self._alone[name])


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
    keys.key.found.clear()
    try:
        keys.open(part)
    except NotAccepted:
        figures.review += 1
        figures.sizes[len(made.encrypted)] += 1
    except (DecryptionFailed, MissingKey):
        pass
    else:
        figures.accepted += 1
        figures.sizes[len(made.encrypted)] += 1
    # More than one where a message is opened again, or in another padding of RSA.
    fitting = set(filter(made.suite.fits, keys.key.found))
    figures.right_length += bool(fitting)
    figures.padded += made.suite.mode is Mode.CBC and any(is_padded(made, key) for key in fitting)


def run_trials(kind: Kind, keys: Keys, chunk: tuple[int, int]) -> Figures:
    """The trials of one process: a seed, and how many."""
    seed, trials = chunk
    recording = KeysOnTrial if kind.trial is Trial.ON_TRIAL else RecordingKeys
    history = recording(load_key_history(KeySpecification((keys.directory,)), None))
    maker = Maker(kind, keys, seed)
    figures = Figures()
    for _ in range(trials):
        try_one(maker.make(), history, figures)
    return figures


def run_in_processes(
    kind: Kind, keys: Sequence[Keys], trials: int, processes: int, *, chunk_size: int = 5000
) -> Figures:
    """Many trials, the keys by turns.

    Each chunk has a seed, so that the number of processes changes nothing.
    """
    context = multiprocessing.get_context("spawn")
    chunks = list(_chunks(trials, chunk_size))
    by_turns = [keys[number % len(keys)] for number in range(len(chunks))]
    figures = Figures()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for part in pool.map(partial(run_trials, kind), by_turns, chunks):
            figures.add(part)
    return figures


def _chunks(trials: int, size: int) -> Iterator[tuple[int, int]]:
    for seed, start in enumerate(range(0, trials, size)):
        yield seed, min(size, trials - start)


# --- the command -----------------------------------------------------------------------------


def make_many(directory: Path, count: int, key_bits: int) -> dict[KeyEncryption, list[Keys]]:
    """Pairs of keys for each way a content-encryption key travels."""
    rsa_keys: list[Keys] = []
    curve_keys: list[Keys] = []
    for number in range(count):
        for family, made in (("rsa", rsa_keys), ("curve", curve_keys)):
            place = directory / f"{family}-{number}"
            place.mkdir()
            made.append(make_keys(place, key_bits) if made is rsa_keys else make_curve_keys(place))
    return {
        KeyEncryption.PKCS1V15: rsa_keys,
        KeyEncryption.OAEP: rsa_keys,
        KeyEncryption.ECDH: curve_keys,
    }


def main() -> None:
    """Runs what the command line asks for and prints one line for each kind of trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000, help="with wrong private keys")
    parser.add_argument("--on-trial", type=int, default=0, help="on certificates not at hand")
    parser.add_argument("--helped", type=int, default=0, help="of each kind that luck has helped")
    parser.add_argument("--key-bits", type=int, default=1024, help="of the RSA keys")
    parser.add_argument("--key-pairs", type=int, default=20, help="of each family, tried by turns")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    plan = {kind: options.trials * share // 100 for kind, share in SHARES.items()}
    plan |= {kind: options.on_trial * share // 100 for kind, share in ON_TRIAL.items()}
    plan |= dict.fromkeys(HELPED, options.helped)
    total = Figures()
    with tempfile.TemporaryDirectory() as name:
        keys = make_many(Path(name), options.key_pairs, options.key_bits)
        for kind, trials in plan.items():
            start = time.monotonic()
            figures = run_in_processes(kind, keys[kind.key_encryption], trials, options.processes)
            total.add(figures)
            print(f"{kind!s:35} {figures}, {time.monotonic() - start:.0f} s", flush=True)
            if figures.sizes:
                print(f"  encrypted sizes: {dict(figures.sizes)}", flush=True)
    print(f"{'all':35} {total}")


if __name__ == "__main__":
    main()
