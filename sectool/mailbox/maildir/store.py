"""The Maildir store, in every layout of folders that programs give it (``layout``).

Follows https://cr.yp.to/proto/maildir.html. Knows no MIME and no CMS, and takes
no lock that a delivery waits for (``view`` says why none is needed).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sectool import durable
from sectool.directories import Directory
from sectool.errors import MessageError, SectoolError
from sectool.mailbox.access import MailboxSpecification
from sectool.mailbox.base import Capabilities, Note, Placed, note_nothing
from sectool.mailbox.files.folders import (
    MESSAGE_DIRECTORIES,
    Folder,
    Skipped,
    is_directory,
    is_maildir,
)
from sectool.mailbox.files.store import FileMailbox, open_root
from sectool.mailbox.maildir.layout import (
    find_folders,
    folders_in,
    has_new,
    is_of_one_mailbox,
)
from sectool.mailbox.maildir.replacing import MaildirReplacer
from sectool.mailbox.maildir.retiring import MaildirRetirer
from sectool.mailbox.maildir.view import MaildirView
from sectool.message import Intent
from sectool.trust import Trust

KIND = "maildir"


class Maildir(FileMailbox):
    """A Maildir with its folders."""

    what = "Maildir"
    what_hint = "a Maildir is a directory that holds cur and new"
    view = MaildirView

    def __init__(self, specification: MailboxSpecification) -> None:
        super().__init__(specification)
        self._replacer = MaildirReplacer(self._files, self.capabilities.spool_directory)
        self._retirer = MaildirRetirer(self._files)

    @classmethod
    def may_be(cls, root: Directory) -> bool:
        return is_maildir(root) or bool(folders_in(root))

    @staticmethod
    def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
        return find_folders(root)

    def look_at_capabilities(self) -> Capabilities:
        if not has_new(self._root):
            return Capabilities(
                writable=False,
                read_only_because="cur without new is how Thunderbird keeps a Maildir",
                read_only_hint="export the mail as .mbox or .eml files; if it is no Thunderbird's,"
                " make the missing directories new",
            )
        parts = [part for part in MESSAGE_DIRECTORIES if is_directory(self._root / part)]
        writable = self.may_write(".", *parts)
        return Capabilities(writable=writable, spool_directory=self._spool() if writable else None)

    def _spool(self) -> Path | None:
        """The ``tmp`` of the mailbox where nobody else can lead its path elsewhere."""
        path = self._root.path / "tmp"
        if not is_maildir(self._root):
            return None
        try:
            way = Trust().walk(path)
            Trust().check_own_names(way.real, directories=(".",))
        except (OSError, SectoolError):
            return None
        return None if way.missing else path

    def replacer(self) -> MaildirReplacer:
        return self._replacer

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        self.require_writable()
        return self._retirer.retire(placed, note)

    def settle(self, intents: Sequence[Intent]) -> None:
        if self.capabilities.writable:
            with durable.explained("end the removal of old copies that was interrupted"):
                self._retirer.settle(intents)


def recognises(path: Path) -> bool:
    """Whether a path leads to a Maildir, or a directory of folders that are those of one.

    Raises:
        UnsafeDirectory: somebody else could have made a link on the way.
        SectoolError: a directory cannot be listed.
        OSError: it cannot be told.
    """
    root = open_root(path)
    if root is None:
        return False
    return is_maildir(root) or is_of_one_mailbox(root, folders_in(root))


def may_be(path: Path) -> bool:
    """Whether a path may lead to a Maildir, or to folders that are those of one.

    Raises:
        As ``recognises``.
    """
    root = open_root(path)
    return root is not None and Maildir.may_be(root)
