"""Which encrypted parts are taken and which stay, for a program and for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sectool.cli.words.layout import table
from sectool.outcome import RecipientKey
from sectool.summary import LeftPart, NeedsOldKeys, Summary

LISTED = 10
"""Reasons are listed up to this number; JSON lists every part."""


def as_json(summary: Summary) -> dict[str, Any]:
    """Further members of the document of the command contract."""
    return {
        "encrypted_attachments": summary.documents,
        "left_parts": with_recipients(summary.left_parts, summary),
    }


def with_recipients(
    entries: Iterable[LeftPart | NeedsOldKeys], summary: Summary
) -> list[dict[str, Any]]:
    """What is told of messages, with their recipients as the history knows them."""
    return [{**asdict(entry), "keys": recipients(entry.keys, summary)} for entry in entries]


def recipients(keys: Iterable[RecipientKey], summary: Summary) -> list[dict[str, Any]]:
    """Recipients by what they name, and whether the history held their keys."""
    return [
        {
            **asdict(key),
            "in_history": key in summary.keys_in_history,
        }
        for key in keys
    ]


def as_table(summary: Summary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if summary.documents:
        looks = summary.phase in {"scan", "decrypt"}
        yield ""
        yield f"encrypted attachments that are taken, too: {summary.documents}" + (
            " (--leave-attachments leaves them)" if looks else ""
        )
    if summary.left_parts:
        reasons = _reasons(summary.left_parts)
        rows = [(reason, str(count)) for reason, count in reasons.most_common(LISTED)]
        yield ""
        yield from table(("encrypted parts that stay as they are", "parts"), rows)
        if len(reasons) > LISTED:
            yield f"  and for {len(reasons) - LISTED} more reasons: --json lists them all"


def _reasons(parts: list[LeftPart]) -> Counter[str]:
    """Why, without the number of each part."""
    return Counter(one.reason.replace(f" {one.part} ", " ") for one in parts)
