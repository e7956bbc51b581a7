"""The kinds of store that the engine is run on, each filled with the mail of a Maildir."""

from __future__ import annotations

import os
from pathlib import Path

from sectool.message import MessageRef
from tests.support import checker
from tests.support.mbox_files import stored_in
from tests.support.mbox_world import MboxWorld, fill_mbox
from tests.support.one_file_world import OneFileWorld, fill_one_file

IN_FILES = ("mbox", "eml", "nested")
"""Beside the Maildir++: mbox files, a tree of ``.eml`` files, a Maildir as mbsync lays it out."""

KINDS = (*IN_FILES, *checker.KINDS)


def fill_kind(there: Path, kind: str, mailbox: Path) -> None:
    """Makes a store of a kind, with the mail of another one."""
    if kind in checker.KINDS:
        fill_one_file(there, kind, mailbox)
        return
    if kind == "mbox":
        fill_mbox(there, mailbox)
        return
    there.mkdir(mode=0o700)  # else a kill makes what it leaves less open than what is made
    if kind == "nested":
        for part in ("cur", "new", "tmp"):
            (there / "INBOX" / part).mkdir(parents=True)
    for number, mail in enumerate(checker.stored_mail(mailbox), start=1):
        levels = mail.folder.strip(".").split(".")
        if kind == "nested":
            directory = there.joinpath(*filter(None, levels)) if any(levels) else there / "INBOX"
            for part in ("cur", "new", "tmp"):
                (directory / part).mkdir(parents=True, exist_ok=True)
            path = directory / "cur" / f"{1_300_000_000 + number}.M1P1.host:2,{mail.flags}"
        else:
            directory = there.joinpath(*filter(None, levels))
            directory.mkdir(exist_ok=True)
            path = directory / f"message {number}.eml"
        path.write_bytes(mail.raw)
        path.chmod(0o600)
        os.utime(path, ns=(mail.mtime_ns, mail.mtime_ns))


def url_of(kind: str, mailbox: Path) -> str:
    """How the command line names it."""
    return f"{'maildir' if kind == 'nested' else kind}:{mailbox}"


def lose_first(kind: str, mailbox: Path) -> None:
    """Removes the first message of the inbox."""
    if kind in checker.KINDS:
        OneFileWorld(mailbox, kind, new=False).remove(MessageRef("INBOX", "1"))
    elif kind == "mbox":
        first = next(one for folder, one in stored_in(mailbox) if folder == "INBOX")
        MboxWorld(mailbox, new=False).remove(MessageRef("INBOX", first.key))
    elif kind == "eml":
        (mailbox / "message 1.eml").unlink()
    else:
        min((mailbox / "INBOX" / "cur").iterdir()).unlink()
