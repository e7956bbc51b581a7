"""What verify and purge tell beside the counts: keys that may go, and files that went."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sectool.cli.layout import table
from sectool.outcome import Purged, RetiredKey, Summary


def as_json(summary: Summary) -> dict[str, Any]:
    """Further members of the document of the command contract."""
    document: dict[str, Any] = {}
    if summary.retire is not None:
        document["retire"] = [_key(entry) for entry in summary.retire]
    if summary.purged is not None:
        document["purged"] = {
            "checkpoints": summary.purged.checkpoints,
            "originals": summary.purged.originals,
            "bytes": summary.purged.bytes,
            "kept": summary.purged.kept,
        }
    return document


def _key(entry: RetiredKey) -> dict[str, Any]:
    return {
        "issuer": entry.key.issuer,
        "serial_number": entry.key.serial_number,
        "subject_key_identifier": entry.key.subject_key_identifier,
        "file": entry.file,
        "messages": entry.messages,
        "may_be_destroyed": entry.may_be_destroyed,
        "reason": entry.reason,
    }


def as_table(summary: Summary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if summary.purged is not None:
        yield ""
        yield from _purged(summary.purged)
    if summary.retire is not None:
        yield ""
        yield from _retire(summary.retire)


def _purged(purged: Purged) -> Iterable[str]:
    from sectool.cli.render import size_text  # which shows this module's tables

    yield (
        f"removed   {purged.checkpoints} checkpoints, {purged.originals} originals"
        f" ({size_text(purged.bytes)})"
    )
    yield f"kept      {purged.kept} checkpoints and originals"


def _retire(keys: list[RetiredKey]) -> Iterable[str]:
    from sectool.cli.render import key_name

    rows = [
        (key_name(entry.key), str(entry.messages), "yes" if entry.may_be_destroyed else "no")
        for entry in keys
    ]
    yield from table(("old key", "messages", "may be destroyed"), rows)
    for reason in dict.fromkeys(entry.reason for entry in keys if entry.reason):
        yield f"  no: {reason}"
