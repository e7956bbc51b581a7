"""The keys that mail names as recipients, in words for a person and in their order."""

from __future__ import annotations

from collections.abc import Mapping

from sectool.outcome import RecipientKey


def key_name(key: RecipientKey) -> str:
    """One line for a person who knows the key."""
    if key.serial_number:
        return f"{key.issuer} serial {key.serial_number}"
    return f"subject key identifier {key.subject_key_identifier}"


def most_first(counts: Mapping[RecipientKey, int]) -> list[tuple[RecipientKey, int]]:
    """Keys with their counts, the largest first, then by issuer."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].issuer))
