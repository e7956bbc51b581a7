"""Removes old copies of a Maildir once their new ones lie in their places.

Both copies are read again before, and flags that changed meanwhile go over to the new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageChanged, MessageError, MessageVanished, reason_of
from sectool.mailbox.base import Merge, Note, Placed
from sectool.mailbox.files.message_files import (
    LOOKS,
    Found,
    MessageFiles,
    answer,
    hint,
    is_unchanged,
)
from sectool.mailbox.files.names import as_named, is_message_name, unique_name
from sectool.mailbox.files.setting_aside import (
    SetAside,
    aside_name,
    digest_of,
    left_aside,
    put_back,
)
from sectool.mailbox.files.view import Entry
from sectool.mailbox.maildir.adding import directory_to_write
from sectool.mailbox.maildir.names import INFO
from sectool.message import Flags, Intent, MessageRef
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class _Ready:
    """A replacement whose old copy may go: both copies were read."""

    placed: Placed
    old: Found
    new: Found
    merge: Merge
    """The flags that the new copy is to have; once ``renamed``, has."""
    renamed: bool = False
    """Whether the new copy was given another name for its flags."""


class MaildirRetirer:
    """The half of a Maildir that removes.

    Args:
        files: the reading half.
    """

    def __init__(self, files: MessageFiles) -> None:
        self._files = files

    def retire(self, placed: Sequence[Placed], note: Note) -> list[Placed | MessageError]:
        """As ``Mailbox.retire``."""
        ready = self._prepare(placed, note)
        answers = [
            entry if isinstance(entry, MessageError) else answer(self._remove, entry, note)
            for entry in ready
        ]
        removed = [
            copy.written.intent.replaced.folder
            for copy, answer in zip(placed, answers, strict=True)
            if isinstance(answer, Placed)
        ]
        with durable.explained("make the removal of old copies durable"):
            durable.sync_directories(
                (path for folder in removed for path in self._parts(folder, "new", "cur", "tmp")),
                "maildir.retired",
            )
        return answers

    def _prepare(self, placed: Sequence[Placed], note: Note) -> list[_Ready | MessageError]:
        """Reads both copies again and carries over the flags that changed meanwhile."""
        looks = [answer(self._look, copy) for copy in placed]
        merges = [look.merge for look in looks if isinstance(look, _Ready)]
        if changed := [merge for merge in merges if merge.is_needed]:
            note(changed)
        ready = [
            look if isinstance(look, MessageError) else answer(self._carry_over, look)
            for look in looks
        ]
        self._sync_renamed([entry for entry in ready if isinstance(entry, _Ready)])
        return ready

    def _look(self, copy: Placed) -> _Ready:
        """Reads both copies.

        Raises:
            MessageVanished: one of them is gone.
            MessageChanged: one is not what it was, or the old one was deleted by the user.
        """
        intent = copy.written.intent
        old = self._files.examine(intent.replaced, intent.revision)
        new = self._files.examine(copy.ref, copy.revision)
        return _Ready(copy, old, new, copy.written.merged(old=old.flags, new=new.flags))

    def _carry_over(self, look: _Ready) -> _Ready:
        new, merge = look.new, look.merge
        placed = replace(look.placed, written=look.placed.written.carried(merge))
        moved = new.entry.part == "new" and look.old.entry.part == "cur"
        if merge.new == new.flags and not moved:
            return replace(look, placed=placed)
        self._set_flags(placed.ref, merge.new)
        # Read again, since the new name gave the file a new time.
        new = self._files.examine(placed.ref, placed.revision)
        return replace(look, placed=placed, new=new, renamed=True)

    def _set_flags(self, ref: MessageRef, flags: Flags) -> None:
        view = self._files.view(ref.folder)
        target = Entry("cur", f"{ref.key}{INFO}{view.letters(flags)}")

        def rename(file: DirectoryEntry, entry: Entry) -> Entry:
            try:
                if entry != target:
                    durable.rename(file, view.at(target), "maildir.flags")
            except FileNotFoundError:
                raise  # a server was quicker; the file is looked for again
            except OSError as error:
                raise durable.explain(error, "carry flags over to the new copy") from error
            return target

        view.note(ref.key, self._files.with_file(ref, rename))

    def _sync_renamed(self, ready: Sequence[_Ready]) -> None:
        renamed = [entry.placed.ref.folder for entry in ready if entry.renamed]
        with durable.explained("make the flags of new copies durable"):
            durable.sync_directories(
                (path for folder in renamed for path in self._parts(folder, "new", "cur")),
                "maildir.flagged",
            )

    def _remove(self, ready: _Ready, note: Note) -> Placed:
        """Removes the old copy if both are still as they were read, else reads them again."""
        new, old = ready.placed.ref, ready.placed.written.intent.replaced
        for look in range(LOOKS):
            try:
                # What was read a moment ago need not be read again.
                is_certain = look > 0 or (ready.new.is_settled and ready.old.is_settled)
                if (
                    is_certain
                    and self._is_as_read(new, ready.new)
                    and self._is_as_read(old, ready.old)
                    and self._take_away(ready.placed.written.intent, ready.old)
                ):
                    return self._after(ready.placed)
            except FileNotFoundError:
                pass  # renamed by a server since it was looked at
            except PermissionError as error:
                raise MessageError(
                    f"the old copy {old} cannot be removed: {reason_of(error)}",
                    hint="check its attributes, then remove one of the two copies",
                ) from error
            except OSError as error:
                raise durable.explain(error, "remove an old copy") from error
            (again,) = self._prepare([ready.placed], note)
            if isinstance(again, MessageError):
                raise again
            ready = again
        raise MessageChanged(f"the message {old} does not stand still")

    def _is_as_read(self, ref: MessageRef, found: Found) -> bool:
        file = self._files.view(ref.folder).at(found.entry)
        return is_unchanged(file, found)

    def _take_away(self, intent: Intent, found: Found) -> bool:
        """Removes an old copy with all its names; whether it was still the one that was read."""
        ref = intent.replaced
        view = self._files.view(ref.folder)
        if not self._take_name_away(intent, view.at(found.entry), found):
            return False
        for twin in view.twins(ref.key):
            if twin != found.entry:
                with contextlib.suppress(FileNotFoundError):
                    self._take_name_away(intent, view.at(twin), found)
        view.forget(ref.key)
        return True

    def _take_name_away(self, intent: Intent, name: DirectoryEntry, found: Found) -> bool:
        """Removes a name of the file that was read; another file keeps it or gets it back.

        No call of the system removes a name only of a certain file: it is looked at where no
        mail program gives the name to another one.

        Raises:
            FileNotFoundError: no file has the name.
            OSError: it cannot be removed, and has the name as before.
        """
        aside = directory_to_write(self._files, intent.replaced.folder, "tmp") / aside_name(
            intent, found.digest
        )
        durable.rename(name, aside, "maildir.retire")
        try:
            if is_unchanged(aside, found, renamed=True):
                durable.unlink(aside, "maildir.discard-old")
                return True
        except OSError:
            with contextlib.suppress(OSError):  # the error that was first is told
                _put_back(aside, name)
            raise
        _put_back(aside, name)
        return False

    def _after(self, copy: Placed) -> Placed:
        """The new copy after the old one went, whatever a server made of its name since."""
        try:
            status = self._files.with_file(copy.ref, lambda file, _: file.lstat())
        except MessageVanished:
            # The user removed the message the moment after; that is their right.
            return replace(copy, hint="")
        return replace(copy, hint=hint(status))

    def _parts(self, folder: str, *parts: str) -> Iterator[Directory]:
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                yield self._files.directory(folder, part)

    # --- after a crash ----------------------------------------------------------------

    def settle(self, intents: Sequence[Intent]) -> None:
        """Ends the removals that a crash left: old copies go, whatever else was set aside returns.

        Nobody asks for the new copy: it was there, durably, and who removed it since meant the
        message.

        Raises:
            OSError: one can neither be removed nor put back.
        """
        for left in left_aside(self._files, "tmp", intents):
            with contextlib.suppress(MessageError):  # its folder is not the owner's any more
                self._settle(left)

    def _settle(self, left: SetAside) -> None:
        if digest_of(left.file) == left.digest:
            durable.unlink(left.file, "maildir.discard-old")
            durable.sync_directories([left.file.directory], "maildir.retired")
        else:
            _put_back(left.file, self._place_before(left.folder, left.intent))

    def _place_before(self, folder: str, intent: Intent) -> DirectoryEntry:
        """The name that an old copy had; where a log names none, a new one."""
        part, _, key = intent.replaced.key.rpartition("/")
        name = as_named(key)
        if part not in {"", "new", "cur"} or not is_message_name(name):
            part, name = "", unique_name(intent.size)
        if not part:
            flags = intent.flags if intent.told is None else intent.told
            name += f"{INFO}{self._files.view(folder).letters(flags)}"
        return directory_to_write(self._files, folder, part or "cur") / name


def _put_back(aside: DirectoryEntry, name: DirectoryEntry) -> None:
    put_back(aside, name, unique_name(aside.lstat().st_size), "maildir.put-back")
