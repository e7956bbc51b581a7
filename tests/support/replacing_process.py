"""One replacement of every message of a Maildir, in a process that a test can kill.

Run as ``python -m tests.support.replacing_process MAILDIR NOTES [spool] [settled] [flag]``.
NOTES receives the announcements before anything is written, as the job log of
the engine would. ``spool`` lets the new copies be taken over by renaming, ``settled``
the same after they were made durable, ``flag`` marks the old copies after they were
staged, as a mail program would.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from sectool import durable
from sectool.errors import MessageError
from sectool.mailbox import (
    Intent,
    Mailbox,
    Placed,
    Replace,
    Written,
    open_mailbox,
    recognise,
)
from sectool.message import (
    BytesContent,
    Content,
    FileContent,
    Flags,
    MessageRef,
    StoredMessage,
)

Good = TypeVar("Good")


def new_bytes(old: bytes) -> bytes:
    """What a message becomes."""
    return old.replace(b"old", b"new") + b"and more\n"


def read_notes(path: Path) -> list[Intent]:
    """The intents that a process took down."""
    if not path.exists() or not path.read_text():
        return []  # it stopped before it wrote to the mailbox
    return [
        Intent(
            **{
                **note,
                "replaced": MessageRef(**note["replaced"]),
                "flags": Flags.of_text(note["flags"]),
            }
        )
        for note in json.loads(path.read_text())
    ]


def main(location: str, notes: str, *options: str) -> None:
    """Replaces everything."""
    mailbox = open_mailbox(recognise(location))
    replacements = [
        _replacement(mailbox, listing.ref, options)
        for folder in mailbox.folders()
        for listing in mailbox.walk(folder)
    ]
    intended = mailbox.intend(replacements)
    told = [{**dataclasses.asdict(entry), "flags": str(entry.flags)} for entry in intended]
    Path(notes).write_text(json.dumps(told))
    contents = [replacement.content for replacement in replacements]
    staged = _good(Written, mailbox.write(list(zip(intended, contents, strict=True))))
    if "flag" in options:
        for path in Path(location).glob("**/cur/*:2,S"):
            path.rename(path.with_name(path.name.replace(":2,S", ":2,FS")))
    placed = _good(Placed, mailbox.place(staged))
    _good(Placed, mailbox.retire(placed))


def _replacement(mailbox: Mailbox, ref: MessageRef, options: Sequence[str]) -> Replace:
    stored = mailbox.fetch(ref)
    with stored.content.open() as stream:
        content: Content = BytesContent(new_bytes(stream.read()))
    spool = mailbox.capabilities.spool_directory
    if {"spool", "settled"} & {*options} and spool is not None:
        path = spool / f"sectool.test.{stored.revision[:16]}"
        with content.open() as stream:
            path.write_bytes(stream.read())
        content = FileContent(path)
        if "settled" in options:
            content = settled(path, stored)
    return Replace(ref, content, stored.revision)


def settled(path: Path, stored: StoredMessage) -> FileContent:
    """A new copy as a worker leaves it: durable, with all that the old one has, and read back."""
    assert stored.inheritance is not None
    with path.open("r+b") as stream:
        stored.inheritance.give(stream.fileno())
    (back,) = durable.sync_and_read_back([path], "spool.sync")
    return FileContent(
        path, known_digest=back.digest, inherited=stored.inheritance, sight=back.sight
    )


def _good(kind: type[Good], answers: Sequence[Good | MessageError]) -> list[Good]:
    assert all(isinstance(answer, kind) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, kind)]


if __name__ == "__main__":
    main(*sys.argv[1:])
