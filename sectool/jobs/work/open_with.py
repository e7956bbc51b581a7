"""Names a key history, so that a later run knows what a message was tried with; opens with it."""

from __future__ import annotations

import hashlib
import secrets

from sectool import smime
from sectool.budget import limit_factor
from sectool.keys import KeyHistory
from sectool.message import InnerEntity


def tried_with(keys: KeyHistory | None, parts: smime.PartSelection) -> str:
    """Digest of the keys and certificates of a history; empty where there is none.

    Another choice of parts is another trial.

    A secret cannot be named without telling whoever guesses it that they are
    right, so what was tried with one is tried again by every run.
    """
    if keys is None:
        return ""
    if keys.secrets:
        return secrets.token_hex(32)
    names = sorted(f"{entry.subject_key_identifier}:{entry.fingerprint}" for entry in keys.entries)
    names += sorted(certificate.fingerprint for certificate in keys.senders)
    if keys.tries_unnamed_keys:
        names.append("unnamed keys on all mail")
    if keys.tries_tokens:
        names.append("keys on tokens on unknown certificates")
    names += sorted(map(repr, keys.bindings))
    names += parts.names
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def limited(tried: str, factor: int) -> str:
    """What was tried so, and left something undone beyond a limit that was so many times itself."""
    return f"{tried}:{factor}"


def is_tried_with(known: str, tried: str) -> bool:
    """Whether a message was tried with this, and as hard as this run tries.

    Args:
        known: what it was tried with, as the log has it.
        tried: what this run tries it with.
    """
    before, _, factor = known.partition(":")
    return before == tried and (not factor or int(factor) >= limit_factor())


def workers_for(workers: int, *histories: KeyHistory | None) -> int:
    """No more worker processes than the keys can serve at once, but one that is asked for."""
    limits = [one.maximum_workers for one in histories if one is not None]
    return min([workers, *(limit for limit in limits if limit is not None)])


def find_opening(
    part: smime.EncryptedPart,
    keys: KeyHistory,
    released: frozenset[str] = frozenset(),
    senders: KeyHistory | None = None,
) -> smime.OpenedPart:
    """Opens an encrypted part with all that a history has: keys, secrets and certificates.

    Args:
        part: of an inventory.
        keys: the history.
        released: content digests that a person takes although nothing proves them mail.
        senders: whose certificates a key agreement may name; None: those of ``keys``.

    Raises:
        MessageError: as ``smime.find_opening``.
    """
    return smime.find_opening(
        part,
        keys,
        secrets=keys.secrets,
        unnamed_keys=keys.unnamed_keys,
        senders=senders or keys,
        released=released,
        guessed=keys.is_guessed,
    )


def open_part(
    part: smime.EncryptedPart,
    keys: KeyHistory,
    released: frozenset[str] = frozenset(),
) -> InnerEntity:
    """The plaintext of an encrypted part, as ``find_opening`` finds it."""
    return find_opening(part, keys, released).inner
