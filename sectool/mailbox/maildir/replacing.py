"""Places new messages of a Maildir: from ``tmp`` into ``new`` or ``cur``.

Between any two steps, and after a crash at any of them, the message has at
least one whole copy that every mail program sees, and at most two.
"""

from __future__ import annotations

import os
from dataclasses import replace

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageVanished, RunError
from sectool.mailbox.base import Placed, Written
from sectool.mailbox.files.message_files import hint
from sectool.mailbox.files.replacing import REMOVED, FileReplacer
from sectool.mailbox.files.view import Entry
from sectool.mailbox.maildir.adding import directory_for, directory_to_write
from sectool.mailbox.maildir.names import INFO
from sectool.message import Intent, MessageRef
from sectool.sight import Sight


class MaildirReplacer(FileReplacer):
    """The writing half of a Maildir."""

    point = "maildir"

    def waiting(self, folder: str, where: str) -> DirectoryEntry:
        return self._files.directory(folder, "tmp") / where

    def waiting_to_write(self, folder: str, where: str) -> DirectoryEntry:
        return directory_to_write(self._files, folder, "tmp") / where

    def directory_for(self, folder: str) -> Directory:
        return directory_for(self._files, folder)

    def move_in(self, copy: Written, sight: Sight) -> tuple[DirectoryEntry, Placed]:
        intent = copy.intent
        view = self._files.view(intent.folder)
        letters = view.letters(copy.flags)
        entry = Entry("cur", f"{intent.where}{INFO}{letters}")
        if intent.internal_date is None:
            # What its owner removed while the new copy was made does not come back.
            part = self._files.with_file(intent.replaced, _part_of_existing)
            if part == "new" and not letters:
                entry = Entry("new", intent.where)
        try:
            with durable.explained("place the new copy"):
                staged = self.staged(intent)
                target = directory_to_write(self._files, intent.folder, entry.part) / entry.name
                status = self.rename_in(staged, target, sight, intent.digest)
        except RunError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise MessageVanished(REMOVED) from error
        view.note(intent.where, entry)
        return target, _placed(copy, status)

    def find_new(self, intent: Intent) -> tuple[DirectoryEntry, Placed]:
        found = self._files.examine(_ref(intent), "" if intent.met else intent.digest)
        file = self._files.view(_ref(intent).folder).at(found.entry)
        placed = _placed(Written.as_intended(intent), found.status)
        return file, replace(placed, revision=found.digest)


def _ref(intent: Intent) -> MessageRef:
    return intent.met or MessageRef(intent.folder, intent.where)


def _placed(copy: Written, status: os.stat_result) -> Placed:
    return Placed(copy, _ref(copy.intent), copy.intent.digest, hint(status))


def _part_of_existing(file: DirectoryEntry, entry: Entry) -> str:
    file.lstat()
    return entry.part
