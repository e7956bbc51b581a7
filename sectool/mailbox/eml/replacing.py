"""Writes new messages of a tree of ``.eml`` files beside the old ones."""

from __future__ import annotations

import os

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageChanged, MessageVanished
from sectool.mailbox.base import Placed, Written
from sectool.mailbox.eml.layout import SUFFIX
from sectool.mailbox.files.adding import known_directory, make_folder
from sectool.mailbox.files.message_files import hint
from sectool.mailbox.files.replacing import REMOVED, FileReplacer
from sectool.mailbox.files.setting_aside import digest_of
from sectool.mailbox.files.view import Entry
from sectool.message import NOTHING, Intent, MessageRef


class EmlReplacer(FileReplacer):
    """The writing half of a tree of ``.eml`` files."""

    point = "eml"

    def waiting(self, folder: str, where: str) -> DirectoryEntry:
        return self._files.directory(folder) / f".{where}"

    def waiting_to_write(self, folder: str, where: str) -> DirectoryEntry:
        return self._files.writable_directory(folder, "") / f".{where}"

    def directory_for(self, folder: str) -> Directory:
        known = known_directory(self._files, folder)
        if known is not None:
            return known
        make_folder(self._files.root / folder)
        self._files.folders()
        return self._files.directory(folder)

    def move_in(self, copy: Written, status: os.stat_result) -> tuple[DirectoryEntry, Placed]:
        intent = copy.intent
        staged = self.staged(intent)
        try:
            if not os.path.samestat(staged.lstat(), status):
                raise MessageVanished(REMOVED)
            if intent.replaced != NOTHING:
                return staged, Placed(copy, intent.replaced, intent.digest, "")
            with durable.explained("place the new copy"):
                entry = Entry("", f"{intent.where}{SUFFIX}")
                target = staged.directory / entry.name
                durable.rename(staged, target, "eml.place")
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        self._files.view(intent.folder).note(entry.name, entry)
        return target, _placed(copy, _ref(intent), intent.digest, status)

    def find_new(self, intent: Intent) -> tuple[DirectoryEntry, Placed]:
        written = Written.as_intended(intent)
        is_known = bool(intent.met or intent.where)
        try:
            if is_known:
                ref = _ref(intent)
                found = self._files.examine(ref, "" if intent.met else intent.digest)
                file = self._files.view(ref.folder).at(found.entry)
                return file, _placed(written, ref, found.digest, found.status)
        except (MessageVanished, MessageChanged):
            if intent.replaced == NOTHING:
                raise
        # It lies beside, and can come in only in the place of the old one.
        self._files.examine(intent.replaced, intent.revision)
        staged = self.staged(intent)
        if digest_of(staged) != intent.digest:
            raise MessageVanished("there is no new copy")
        return staged, Placed(written, intent.replaced, intent.digest, "")


def _ref(intent: Intent) -> MessageRef:
    """Where a new copy lies once it is in."""
    if intent.met is not None:
        return intent.met
    if intent.replaced != NOTHING:
        return intent.replaced
    return MessageRef(intent.folder, f"{intent.where}{SUFFIX}")


def _placed(copy: Written, ref: MessageRef, revision: str, status: os.stat_result) -> Placed:
    return Placed(copy, ref, revision, hint(status))
