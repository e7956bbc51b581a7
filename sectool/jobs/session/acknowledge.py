"""Files of messages that a person wrote.

``--acknowledge``: what they know cannot be done. ``--give-up``: what they will do
without, so that an old key may go.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sectool.errors import UsageError, reason_of
from sectool.joblog import Acknowledgement
from sectool.jobs.session.job import Job
from sectool.keys import KeyHistory
from sectool.outcome import NOT_DONE, CertificateFingerprint, Identity, PublicKeyDigest, State
from sectool.progress import Progress
from sectool.trust import open_named
from sectool.values import dataclass

_HINT = "a line is an identity, as `sectool status DIR --json` lists it, and the state if you like"

_IDENTITY = re.compile(r"(unread:)?[0-9a-f]{64}")


LIST_LIMIT = 32 * 1024 * 1024
"""Bytes of a list of messages: some hundred thousand identities."""


def lines_of(path: Path, *, hint: str) -> list[str]:
    """The lines of a file that a person named.

    Raises:
        UsageError: it cannot be read or is too large; gives the hint.
    """
    try:
        with open(path, "rb", opener=open_named) as stream:
            raw = stream.read(LIST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}", hint=hint) from error
    if len(raw) > LIST_LIMIT:
        raise UsageError(f"{path} is larger than {LIST_LIMIT} bytes", hint=hint)
    return raw.decode("utf-8-sig", "replace").splitlines()


def read_acknowledgements(path: Path | None) -> tuple[Acknowledgement, ...]:
    """Reads a file of identities, one a line, each with the state it is good for or none.

    Args:
        path: the file; what follows a ``#`` is left out. None: nothing is acknowledged.

    Raises:
        UsageError: it cannot be read, or a line is no such thing.
    """
    if path is None:
        return ()
    lines = lines_of(path, hint="name a file that lists the messages to acknowledge")
    words = [(number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
    return tuple(dict.fromkeys(_parse(path, number, line) for number, line in words if line))


def _parse(path: Path, number: int, words: list[str]) -> Acknowledgement:
    identity, *states = words
    identity = identity.lower()
    if not _IDENTITY.fullmatch(identity):
        raise UsageError(f"line {number} of {path} is no identity of a message", hint=_HINT)
    if not states:
        return Acknowledgement(Identity(identity))
    if len(states) > 1 or states[0] not in NOT_DONE:
        names = ", ".join(sorted(NOT_DONE))
        raise UsageError(
            f"line {number} of {path} names no state that can be acknowledged",
            hint=f"one of: {names}; or none",
        )
    return Acknowledgement(Identity(identity), State(states[0]))


@contextmanager
def acknowledging(
    job: Job, acknowledgements: tuple[Acknowledgement, ...], progress: Progress
) -> Iterator[None]:
    """Takes acknowledgements down before the block; tells after it which of them met no message."""
    if acknowledgements:
        with job.log.group():
            job.log.acknowledgements.add(acknowledgements)
    yield
    unmatched = [one for one in acknowledgements if not job.log.acknowledgements.is_matched(one)]
    if unmatched:
        progress.warn(
            f"{len(unmatched)} of {len(acknowledgements)} acknowledged messages are not among"
            f" those not done, such as {unmatched[0].identity[:16]}…",
            hint="they may be done, or of another job; take them out of the file",
        )


# --- messages given up for old keys ---------------------------------------------------------------


_GIVE_UP_HINT = (
    "a line is the identity of a message and the public_key, as `sectool verify --retire --json`"
    " lists them, and your reason"
)

_NAMED_IDENTITY = re.compile(r"((unread|place):)?[0-9a-f]{64}")
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
        _parse_give_up(path, number, line, retired)
        for number, line in words
        if line and not line.startswith("#")
    )


def _parse_give_up(path: Path, number: int, line: str, retired: KeyHistory) -> GiveUp:
    identity, fingerprint, reason = (*line.split(maxsplit=2), "", "")[:3]
    identity, fingerprint = identity.lower(), fingerprint.replace(":", "").lower()
    if not _NAMED_IDENTITY.fullmatch(identity) or not _FINGERPRINT.fullmatch(fingerprint):
        raise UsageError(f"line {number} of {path} names no message and key", hint=_GIVE_UP_HINT)
    reason = "".join(character for character in reason if character.isprintable())
    if not reason:
        raise UsageError(f"line {number} of {path} gives no reason", hint=_GIVE_UP_HINT)
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
