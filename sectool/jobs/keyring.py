"""Names a key history, so that a later run knows what a message was tried with."""

from __future__ import annotations

import hashlib

from sectool.keys import KeyHistory


def tried_with(keys: KeyHistory | None) -> str:
    """Digest of the keys and certificates of a history; empty where there is none."""
    if keys is None:
        return ""
    names = sorted(f"{entry.subject_key_identifier}:{entry.fingerprint}" for entry in keys.entries)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
