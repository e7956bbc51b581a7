"""The owner of a mailbox, who moves, flags, edits and deletes copies while sectool is at work.

A Maildir is handled as a server does it, with a new base name for whatever is moved or copied; a
store of one file in SQL. Where a message is to lie in the end, and with which flags, is noted as
the owner acts: the last word counts.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sectool.message import Flags, MessageRef
from tests.support import checker
from tests.support.checker import FLAGS, StoredMail
from tests.support.one_file_world import OneFileWorld, rows

ARCHIVE = "Archive"
COPIES = "Copies"
TAG = b"Subject: [mine] "

_NAMES = itertools.count(1)


@dataclass
class Wanted:
    """What there is to be of the owner's message in the end."""

    folders: set[str]
    flags: set[str]
    """Letters of a Maildir."""
    copies: tuple[int, int] = (1, 1)
    """At least and at most."""
    is_tagged: bool = False
    is_marked_old: bool = False
    """The copy to be replaced is marked as deleted, so that none is removed until it goes."""
    told: list[str] = field(default_factory=list)


class Owner:
    """Acts on the copies of one message.

    Args:
        mailbox: a Maildir, or the file of a store.
        kind: ``maildir``, or one of ``checker.KINDS``.
        message_id: of the message.
        old: the bytes that the message had before the run.
    """

    def __init__(self, mailbox: Path, kind: str, message_id: bytes, old: set[bytes]) -> None:
        self._mailbox = mailbox
        self._kind = kind
        self._message_id = message_id
        self._old = old

    def copies(self, which: str = "all") -> list[StoredMail]:
        """Those of the message that mail programs see: all, or the ``old`` or the ``new``."""
        found = [
            replace(mail, folder=mail.folder.removeprefix(".") or "INBOX")
            for mail in checker.stored_mail(self._mailbox)
            if self._message_id in mail.raw
        ]
        return [
            mail for mail in found if which == "all" or (mail.raw in self._old) == (which == "old")
        ]

    # --- acts on one copy ------------------------------------------------------------

    def move(self, mail: StoredMail, folder: str) -> None:
        if self._kind == "maildir":
            os.rename(self._path(mail), self._new_path(folder, mail))  # noqa: PTH104
        else:
            self._world.move(self._ref(mail), folder)

    def begin_move(self, mail: StoredMail, folder: str) -> None:
        """As a server does it, which gives the new name first; of a Maildir."""
        self._new_path(folder, mail).hardlink_to(self._path(mail))

    def copy(self, mail: StoredMail, folder: str) -> None:
        if self._kind == "maildir":
            path = self._new_path(folder, mail)
            path.write_bytes(mail.raw)
            os.utime(path, ns=(mail.mtime_ns, mail.mtime_ns))
        else:
            date = datetime.fromisoformat(mail.date)
            self._world.deliver(folder, mail.raw, flags=_flags(mail.flags), date=date)

    def set_flags(self, mail: StoredMail, letters: str) -> None:
        if self._kind == "maildir":
            path = self._path(mail)
            path.rename(self._directory(mail.folder) / "cur" / f"{mail.base_name}:2,{letters}")
        else:
            self._world.set_flags(self._ref(mail), _flags(letters))

    def delete(self, mail: StoredMail) -> None:
        if self._kind == "maildir":
            self._path(mail).unlink()
        else:
            self._world.remove(self._ref(mail))

    def tag(self, mail: StoredMail) -> None:
        raw = mail.raw.replace(b"Subject: ", TAG, 1)
        if self._kind != "maildir":
            self._world.overwrite(self._ref(mail), raw)
            return
        path = self._path(mail)
        staged = self._directory(mail.folder) / "tmp" / "edited"
        staged.write_bytes(raw)
        os.utime(staged, ns=(mail.mtime_ns, mail.mtime_ns))
        staged.rename(path)

    def rename_folder(self, folder: str, name: str) -> None:
        if self._kind == "maildir":
            self._directory(folder).rename(self._mailbox / f".{name}")
        else:
            with rows(self._mailbox) as store:
                store.execute("UPDATE message SET folder = ? WHERE folder = ?", (name, folder))

    # --- where it lies ----------------------------------------------------------------

    @property
    def _world(self) -> OneFileWorld:
        return OneFileWorld(self._mailbox, self._kind, new=False)

    def _ref(self, mail: StoredMail) -> MessageRef:
        return MessageRef(mail.folder, mail.base_name)

    def _directory(self, folder: str) -> Path:
        return self._mailbox if folder == "INBOX" else self._mailbox / f".{folder}"

    def _path(self, mail: StoredMail) -> Path:
        directory = self._directory(mail.folder)
        (path,) = (
            path
            for part in ("cur", "new")
            for path in (directory / part).iterdir()
            if path.name.partition(":2,")[0] == mail.base_name
        )
        return path

    def _new_path(self, folder: str, mail: StoredMail) -> Path:
        for part in ("cur", "new", "tmp"):
            (self._directory(folder) / part).mkdir(parents=True, exist_ok=True)
        name = f"1700000000.M{next(_NAMES)}P77.server,S={len(mail.raw)},W={len(mail.raw)}"
        return self._directory(folder) / "cur" / f"{name}:2,{mail.flags}"


def _flags(letters: str) -> Flags:
    return Flags(frozenset(FLAGS[letter] for letter in letters))


Act = Callable[[Owner, StoredMail, Wanted], None]


def _move(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.move(mail, ARCHIVE)
    wanted.folders = {ARCHIVE}


def _copy(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.copy(mail, COPIES)
    wanted.folders.add(COPIES)
    wanted.copies = (1, 2)


def _flag(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.set_flags(mail, "".join(sorted({*mail.flags, "F"})))
    wanted.flags = wanted.flags | {"F"}


def _unflag(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.set_flags(mail, "".join(sorted({*mail.flags} - {"F"})))
    wanted.flags = wanted.flags - {"F"}


def _unread(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.set_flags(mail, "".join(sorted({*mail.flags} - {"S"})))
    wanted.flags = wanted.flags - {"S"}


def _mark(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.set_flags(mail, "".join(sorted({*mail.flags, "T"})))
    wanted.flags = wanted.flags | {"T"}


def _delete(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.delete(mail)
    if not owner.copies():
        wanted.copies = (0, 0)


def _tag(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.tag(mail)
    wanted.is_tagged = True


def _rename(owner: Owner, mail: StoredMail, wanted: Wanted) -> None:
    owner.rename_folder(mail.folder, "Renamed")
    wanted.folders = {"Renamed"}


ACTS: dict[str, Act] = {
    "move": _move,
    "copy": _copy,
    "flag": _flag,
    "unflag": _unflag,
    "unread": _unread,
    "mark as deleted": _mark,
    "delete": _delete,
    "tag the Subject": _tag,
    "rename the folder": _rename,
}
"""On a copy that is there."""
