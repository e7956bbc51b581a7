"""The store of ``.eml`` files, as exports and archives are made: no flags, no index.

A message has the name of its file, the internal date is the time of its modification. Its new
copy lies durably beside under a name with a dot, and is exchanged for the old one at once, so
that there is never a moment with none or two, and the name stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from sectool import durable
from sectool.directories import Directory
from sectool.errors import MessageError
from sectool.mailbox.access import MailboxSpecification
from sectool.mailbox.base import Capabilities, Note, Placed, Retirement, note_nothing
from sectool.mailbox.eml.layout import EmlView, find_folders
from sectool.mailbox.eml.replacing import EmlReplacer
from sectool.mailbox.eml.retiring import EmlRetirer
from sectool.mailbox.files.folders import Folder, Skipped
from sectool.mailbox.files.store import FileMailbox
from sectool.message import Intent

KIND = "eml"


class Eml(FileMailbox):
    """A tree of ``.eml`` files."""

    what = "directory"
    what_hint = "name the directory in which the .eml files lie"
    view = EmlView

    def __init__(self, specification: MailboxSpecification) -> None:
        super().__init__(specification)
        self._replacer = EmlReplacer(self._files)
        self._retirer = EmlRetirer(self._files, self._replacer)

    @staticmethod
    def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
        return find_folders(root)

    def look_at_capabilities(self) -> Capabilities:
        return Capabilities(writable=self.may_write("."), retirement=Retirement.RENAME)

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
