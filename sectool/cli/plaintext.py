"""How long plaintext has been lying in a job directory and in its mailbox."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sectool.cli.layout import counted, size_text, wrapped
from sectool.summary import Lying, Plaintext


def as_json(plaintext: Plaintext) -> dict[str, Any]:
    """A member of the document of ``decrypt``, ``status`` and ``purge``."""
    return {
        "since": _iso(plaintext.since),
        "days": plaintext.days,
        "checkpoints": plaintext.checkpoints.count,
        "bytes": plaintext.checkpoints.bytes,
        "sealed": plaintext.sealed.count,
        "sealed_to": list(plaintext.sealed_to),
        "in_mailbox": {
            "since": _iso(plaintext.in_mailbox.since),
            "messages": plaintext.in_mailbox.count,
            "bytes": plaintext.in_mailbox.bytes,
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def as_table(plaintext: Plaintext) -> Iterable[str]:
    """The same in lines for a person."""
    lying = plaintext.checkpoints, plaintext.in_mailbox
    if not any(each.count for each in lying):
        yield "plaintext none lies in the job or, decrypted by it, in the mailbox"
    if plaintext.checkpoints.count:
        yield f"plaintext {_told(plaintext.checkpoints, 'checkpoints', plaintext)}"
    if plaintext.in_mailbox.count:
        yield f"in clear  {_told(plaintext.in_mailbox, 'messages in the mailbox', plaintext)}"
    if plaintext.sealed.count:
        told = f"sealed    {plaintext.sealed.count} checkpoints"
        to = f", to {' '.join(plaintext.sealed_to)}" if plaintext.sealed_to else ""
        yield from wrapped(told + to, indent=10)


def _told(lying: Lying, what: str, plaintext: Plaintext) -> str:
    told = f"{lying.count} {what} ({size_text(lying.bytes)})"
    if lying.since is None:
        return told
    days = plaintext.days_since(lying.since)
    return f"{told} for {counted(days, 'day')}, since {lying.since.astimezone():%Y-%m-%d}"
