"""The store of ``.eml`` files, as exports and archives are made: no flags, no index.

A message has the name of its file, the internal date is the time of its modification. Its new
copy lies durably beside under a name with a dot, and is exchanged for the old one at once, so
that there is never a moment with none or two, and the name stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sectool import durable
from sectool.errors import MessageError, NoSuchMailbox
from sectool.mailbox.base import (
    Capabilities,
    MailboxSpecification,
    Note,
    Placed,
    Retirement,
    note_nothing,
)
from sectool.mailbox.eml.layout import SUFFIX, EmlView, find_folders, holds
from sectool.mailbox.eml.replacing import EmlReplacer
from sectool.mailbox.eml.retiring import EmlRetirer
from sectool.mailbox.files.message_files import MessageFiles
from sectool.mailbox.files.store import ENTRIES_LOOKED_AT, FileMailbox, open_root
from sectool.message import Intent

KIND = "eml"


class Eml(FileMailbox):
    """A tree of ``.eml`` files.

    Args:
        specification: of kind ``eml``; its location is the directory.

    Raises:
        NoSuchMailbox: there is no directory.
    """

    def __init__(self, specification: MailboxSpecification) -> None:
        location = Path(specification.location)
        with durable.explained(f"look at {location}", denied=NoSuchMailbox):
            root = open_root(location)
            if root is None:
                raise NoSuchMailbox(
                    f"there is no directory at {specification.location}",
                    hint="name the directory in which the .eml files lie",
                )
            super().__init__(specification, root, MessageFiles(root, find_folders, EmlView))
            self.capabilities = Capabilities(
                writable=self.may_write("."), retirement=Retirement.RENAME
            )
        self._replacer = EmlReplacer(self._files)
        self._retirer = EmlRetirer(self._files, self._replacer)

    def replacer(self) -> EmlReplacer:
        return self._replacer

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        del note  # there are no flags
        self.require_writable()
        return self._retirer.retire(placed)

    def settle(self, intents: Sequence[Intent]) -> None:
        if self.capabilities.writable:
            with durable.explained("end the removal of old copies that was interrupted"):
                self._retirer.settle(intents)


def recognises(path: Path) -> bool:
    """Whether a path leads to a directory with an ``.eml`` file in it, or soon below.

    Raises:
        UnsafeDirectory: somebody else could have made a link on the way.
        SectoolError: a directory cannot be listed.
        OSError: it cannot be told.
    """
    return holds(open_root(path), SUFFIX, ENTRIES_LOOKED_AT)


def may_be(path: Path) -> bool:
    """Whether there is one anywhere below.

    Raises:
        As ``recognises``.
    """
    return holds(open_root(path), SUFFIX)
