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
from sectool.mailbox.files.replacing import REMOVED, FileReplacer, check_name
from sectool.mailbox.files.setting_aside import digest_of
from sectool.mailbox.files.view import Entry
from sectool.message import Intent, MessageRef
from sectool.sight import Sight


class EmlReplacer(FileReplacer):
    """The writing half of a tree of ``.eml`` files."""

    point = "eml"

    def waiting(self, folder: str, where: str) -> DirectoryEntry:
        return self._files.directory(folder) / f".{where}.new"

    def waiting_to_write(self, folder: str, where: str) -> DirectoryEntry:
        return self._files.writable_directory(folder, "") / f".{where}.new"

    def beside(self, intent: Intent, folder: str = "") -> DirectoryEntry:
        """What a new copy that is whole and durable is called until it takes the old one's place.

        Raises:
            MessageError: the intent has no name of this package.
            OSError: the folder cannot be opened.
        """
        check_name(intent)
        return self._files.directory(folder or intent.folder) / f".{intent.where}"

    def left_by(self, intent: Intent, folder: str) -> list[DirectoryEntry]:
        staged = super().left_by(intent, folder)
        return [*staged, *(one.directory / f".{intent.where}" for one in staged)]

    def directory_for(self, folder: str) -> Directory:
        known = known_directory(self._files, folder)
        if known is not None:
            return known
        make_folder(self._files.root / folder)
        self._files.folders()
        return self._files.directory(folder)

    def move_in(self, copy: Written, sight: Sight) -> tuple[DirectoryEntry, Placed]:
        intent = copy.intent
        staged = self.staged(intent)
        try:
            is_addition = _is_addition(intent)
            if not is_addition:
                self._files.with_file(intent.replaced, lambda file, _: file.lstat())
            entry = Entry("", f"{intent.where}{SUFFIX}" if is_addition else f".{intent.where}")
            target = staged.directory / entry.name
            status = self.rename_in(staged, target, sight, intent.digest)
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except OSError as error:
            raise durable.explain(error, "place the new copy") from error
        if not is_addition:
            return target, Placed(copy, intent.replaced, intent.digest, "")
        self._files.view(intent.folder).note(entry.name, entry)
        return target, _placed(copy, _ref(intent), intent.digest, status)

    def find_new(self, intent: Intent) -> tuple[DirectoryEntry, Placed]:
        written = Written.as_intended(intent)
        if not (intent.met or intent.where):
            raise MessageVanished("there is no new copy")
        ref = _ref(intent)
        try:
            found = self._files.examine(ref, "" if intent.met else intent.digest)
            file = self._files.view(ref.folder).at(found.entry)
            return file, _placed(written, ref, found.digest, found.status)
        except (MessageVanished, MessageChanged):
            if _is_addition(intent) or not intent.where:
                raise
        # It lies beside, and can come in only in the place of the old one.
        self._files.examine(intent.replaced, intent.revision)
        beside = self.beside(intent)
        if digest_of(beside) != intent.digest:
            raise MessageVanished("there is no new copy")
        return beside, Placed(written, intent.replaced, intent.digest, "")


def _is_addition(intent: Intent) -> bool:
    """Whether it takes no other's place; the log may say where its lost message was."""
    return not intent.revision


def _ref(intent: Intent) -> MessageRef:
    """Where a new copy lies once it is in."""
    if intent.met is not None:
        return intent.met
    if not _is_addition(intent):
        return intent.replaced
    return MessageRef(intent.folder, f"{intent.where}{SUFFIX}")


def _placed(copy: Written, ref: MessageRef, revision: str, status: os.stat_result) -> Placed:
    return Placed(copy, ref, revision, hint(status))
