"""Removes old copies of a Maildir once their new ones lie in their places.

Both copies are read again before, and flags that changed meanwhile go over to the new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MessageChanged, MessageError, MessageVanished, reason_of
from sectool.mailbox.base import Merge, Note, Placed
from sectool.mailbox.maildir.files import LOOKS, Found, MaildirFiles, answer, hint, is_unchanged
from sectool.mailbox.maildir.names import INFO
from sectool.mailbox.maildir.view import Entry
from sectool.message import Flags, MessageRef


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

    def __init__(self, files: MaildirFiles) -> None:
        self._files = files

    def retire(self, placed: Sequence[Placed], note: Note) -> list[Placed | MessageError]:
        """As ``Mailbox.retire``."""
        ready = self._prepare(placed, note)
        answers = [
            entry if isinstance(entry, MessageError) else answer(self._remove, entry, note)
            for entry in ready
        ]
        removed = [
            copy.written.intent
            for copy, answer in zip(placed, answers, strict=True)
            if isinstance(answer, Placed)
        ]
        with durable.explained("make the removal of old copies durable"):
            durable.sync_directories(
                (path for intent in removed for path in self._parts(intent.replaced.folder)),
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
        target = Entry("cur", f"{ref.key}{INFO}{view.letters().letters(flags)}")

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
                (path for folder in renamed for path in self._parts(folder)), "maildir.flagged"
            )

    def _remove(self, ready: _Ready, note: Note) -> Placed:
        """Unlinks the old copy if both are still as they were read, else reads them again."""
        new, old = ready.placed.ref, ready.placed.written.intent.replaced
        for look in range(LOOKS):
            try:
                # What was read a moment ago need not be read again.
                is_certain = look > 0 or (ready.new.is_settled and ready.old.is_settled)
                if (
                    is_certain
                    and self._is_as_read(new, ready.new)
                    and self._is_as_read(old, ready.old)
                ):
                    self._unlink(old, ready.old)
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

    def _unlink(self, ref: MessageRef, found: Found) -> None:
        view = self._files.view(ref.folder)
        durable.unlink(view.at(found.entry), "maildir.retire")
        for entry in view.twins(ref.key):
            # By now another message may have the name.
            if entry != found.entry and _has_file(view.at(entry), found.status):
                durable.unlink(view.at(entry), "maildir.retire", missing_ok=True)
        view.forget(ref.key)

    def _after(self, copy: Placed) -> Placed:
        """The new copy after the old one went, whatever a server made of its name since."""
        try:
            status = self._files.with_file(copy.ref, lambda file, _: file.lstat())
        except MessageVanished:
            # The user removed the message the moment after; that is their right.
            return replace(copy, hint="")
        return replace(copy, hint=hint(status))

    def _parts(self, folder: str) -> Iterator[Directory]:
        for part in ("new", "cur"):
            with contextlib.suppress(FileNotFoundError):
                yield self._files.directory(folder, part)


def _has_file(entry: DirectoryEntry, status: os.stat_result) -> bool:
    """Whether a name is one of the file with this status."""
    try:
        return os.path.samestat(entry.lstat(), status)
    except FileNotFoundError:
        return False
