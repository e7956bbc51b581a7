"""``--give-up``: a file of messages that a person will do without, so that an old key may go."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sectool.errors import UsageError
from sectool.jobs.session.acknowledge import lines_of
from sectool.keys import KeyHistory
from sectool.outcome import CertificateFingerprint, Identity, PublicKeyDigest

_HINT = (
    "a line is the identity of a message and the public_key, as `sectool verify --retire --json`"
    " lists them, and your reason"
)

_IDENTITY = re.compile(r"((unread|place):)?[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class GiveUp:
    """One message that a person gives up for a key."""

    line: int
    """Number of the line that says so."""
    identity: Identity
    """As a claim has it."""
    fingerprint: CertificateFingerprint
    """SHA-256 of a certificate of the key, or of its SubjectPublicKeyInfo."""
    reason: str
    public_keys: frozenset[PublicKeyDigest] = frozenset()
    """SHA-256 of the SubjectPublicKeyInfo of each key that is meant."""


def read_give_ups(path: Path | None, retired: KeyHistory | None) -> tuple[GiveUp, ...]:
    """Reads a file of messages that are given up, one a line.

    Args:
        path: the file; a line that begins with ``#`` is left out. None: nothing is given up.
        retired: the old keys that are answered for.

    Raises:
        UsageError: it cannot be read, a line is no such thing or names none of the keys, or
            there are no keys.
    """
    if path is None:
        return ()
    if retired is None:
        raise UsageError(
            "messages are given up for a key, and none was named",
            hint="name the old keys with --retire",
        )
    lines = lines_of(path, hint="name a file that lists the messages to give up")
    words = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    return tuple(
        _parse(path, number, line, retired)
        for number, line in words
        if line and not line.startswith("#")
    )


def _parse(path: Path, number: int, line: str, retired: KeyHistory) -> GiveUp:
    identity, fingerprint, reason = (*line.split(maxsplit=2), "", "")[:3]
    identity, fingerprint = identity.lower(), fingerprint.replace(":", "").lower()
    if not _IDENTITY.fullmatch(identity) or not _FINGERPRINT.fullmatch(fingerprint):
        raise UsageError(f"line {number} of {path} names no message and key", hint=_HINT)
    reason = "".join(character for character in reason if character.isprintable())
    if not reason:
        raise UsageError(f"line {number} of {path} gives no reason", hint=_HINT)
    public_keys = frozenset(_meant(CertificateFingerprint(fingerprint), retired))
    if not public_keys:
        raise UsageError(
            f"line {number} of {path} names a key that is not among those of --retire",
            hint="the fingerprint is the SHA-256 of a certificate of the key, or of its public key",
        )
    return GiveUp(
        number,
        Identity(identity),
        CertificateFingerprint(fingerprint),
        reason[:_LONGEST_REASON],
        public_keys,
    )


def _meant(fingerprint: CertificateFingerprint, retired: KeyHistory) -> list[PublicKeyDigest]:
    found: list[PublicKeyDigest] = []
    for key in retired.keys:
        infos = (one.public_key_info for one in key.certificates)
        own: set[str] = {key.public_key_digest, *(one.fingerprint for one in key.certificates)}
        own.update(hashlib.sha256(info).hexdigest() for info in infos)
        if fingerprint in own:
            found.append(key.public_key_digest)
    return found


def whoever_runs_this() -> str:
    """User name and number of this process, as the system knows them."""
    if not hasattr(os, "getuid"):
        return getpass.getuser()
    import pwd  # noqa: PLC0415  # not on Windows

    number = os.getuid()
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
