"""Replaces messages of a Maildir: staged in ``tmp``, made durable, placed, the old retired.

Between any two steps, and after a crash at any of them, the message has at
least one whole copy that every mail program sees, and at most two. A name
that comes with an intent is made into a path only if this package can
have chosen it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, TypeVar

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    RunError,
    reason_of,
)
from sectool.mailbox.base import Merge, Note, Placed, Whereabouts, Written
from sectool.mailbox.maildir.adding import folder_for, make_part, mode_of_messages
from sectool.mailbox.maildir.files import EPOCH, LOOKS, Found, MaildirFiles, hint
from sectool.mailbox.maildir.names import INFO, is_unique_name
from sectool.mailbox.maildir.view import Entry
from sectool.message import (
    COPY_BLOCK,
    Content,
    FileContent,
    Flags,
    Intent,
    MessageRef,
    open_regular_file,
)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Inheritance:
    """What a new file is given of the one it replaces, or of its folder."""

    owner: int
    group: int
    mode: int
    times: tuple[int, int]
    """Of access and modification, in nanoseconds."""

    @classmethod
    def of(cls, old: os.stat_result) -> _Inheritance:
        mode = stat.S_IMODE(old.st_mode) & 0o777
        return cls(old.st_uid, old.st_gid, mode, (old.st_atime_ns, old.st_mtime_ns))

    @classmethod
    def in_folder(cls, directory: Path, date: datetime) -> _Inheritance:
        status = directory.lstat()
        when = (date - EPOCH) // timedelta(microseconds=1) * 1000
        return cls(status.st_uid, status.st_gid, mode_of_messages(directory), (when, when))


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


class MaildirReplacer:
    """The writing half of a Maildir.

    Args:
        files: the reading half.
        root: its directory; files in the ``tmp`` there may be taken over by renaming.
    """

    def __init__(self, files: MaildirFiles, root: Path) -> None:
        self._files = files
        self._root = root
        self._spool = root / "tmp"

    # --- write -----------------------------------------------------------------

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        """As ``Mailbox.write``."""
        try:
            with durable.explained("write to the mailbox"):
                return [_answer(self._write, *entry) for entry in intended]
        except BaseException:
            self._give_up([intent for intent, _ in intended])
            raise

    def _write(self, intent: Intent, content: Content) -> Written:
        if intent.internal_date is None:
            old = self._files.examine(intent.replaced, intent.revision)
            inheritance = _Inheritance.of(old.status)
        else:
            folder = folder_for(self._files, self._root, intent.folder)
            inheritance = _Inheritance.in_folder(folder.directory, intent.internal_date)
        self._write_staged(intent, content, inheritance)
        return Written.as_intended(intent)

    def _write_staged(self, intent: Intent, content: Content, old: _Inheritance) -> None:
        staged = self._staging_path(intent)
        make_part(staged.parent)
        if _was_taken_over(content) and _is_file(staged):
            return  # by a try that failed after it; placing compares it with its intent
        self._remove_staged(intent)  # what an interrupted run may have left there
        if not self._take_over(content, staged, old):
            self._copy(content, staged, old)

    def _take_over(self, content: Content, staged: Path, old: _Inheritance) -> bool:
        """Renames a whole file of the spool directory; False where it must be copied."""
        if not isinstance(content, FileContent) or content.path.parent != self._spool:
            return False
        with _open_new(lambda: open_regular_file(content.path)) as stream:
            status = os.fstat(stream.fileno())
            if content.offset or content.size != status.st_size or status.st_nlink != 1:
                return False
            _inherit(stream.fileno(), old)
        try:
            durable.rename(content.path, staged, "maildir.stage")
        except OSError as error:
            if error.errno != errno.EXDEV:  # the folder is a file system of its own
                raise
            return False
        return True

    def _copy(self, content: Content, staged: Path, old: _Inheritance) -> None:
        with _open_new(content.open) as source, durable.new_file(staged) as stream:
            crashpoint("maildir.stage")
            shutil.copyfileobj(source, stream, COPY_BLOCK)
            stream.flush()  # a later write would change the time again
            _inherit(stream.fileno(), old)

    # --- place --------------------------------------------------------------------

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        """As ``Mailbox.place``."""
        paths = [_answer(self._staged_file, copy.intent) for copy in written]
        try:
            with durable.explained("make the new copies durable"):
                durable.sync_files(
                    [path for path in paths if isinstance(path, Path)], "maildir.sync"
                )
        except BaseException:
            # What a failed sync covered is never trusted again, so none is kept.
            self._give_up([copy.intent for copy in written])
            raise
        answers = [
            path if isinstance(path, MessageError) else _answer(self._place, copy, path)
            for copy, path in zip(written, paths, strict=True)
        ]
        placed = [answer for answer in answers if not isinstance(answer, MessageError)]
        with durable.explained("make the new names durable"):
            # In a folder that was renamed just now no old copy is found, so none is removed.
            there = (path.parent for path, _ in placed if path.parent.is_dir())
            durable.sync_directories(there, "maildir.directory")
        return [answer if isinstance(answer, MessageError) else answer[1] for answer in answers]

    def _staged_file(self, intent: Intent) -> Path:
        path = self._staging_path(intent)
        if not _is_file(path):
            raise MessageVanished("the new copy was removed while it waited in tmp")
        return path

    def _place(self, copy: Written, path: Path) -> tuple[Path, Placed]:
        """Compares a synced copy with its intent and gives it its name."""
        try:
            digest = durable.read_back_digest(path)
        except OSError as error:
            self._remove_staged(copy.intent)
            raise MessageError(f"the new copy does not read back: {reason_of(error)}") from error
        if digest != copy.intent.digest:
            self._remove_staged(copy.intent)
            raise MessageError(
                "the new copy reads back otherwise than it was written",
                hint="the disk may be failing",
            )
        return self._move_in(copy, path)

    def _move_in(self, copy: Written, path: Path) -> tuple[Path, Placed]:
        intent = copy.intent
        view = self._files.view(intent.folder)
        letters = view.letters().letters(copy.flags)
        entry = Entry("cur", f"{intent.where}{INFO}{letters}")
        if not letters and self._is_new(intent.replaced):
            entry = Entry("new", intent.where)
        target = view.path(entry)
        try:
            status = path.lstat()  # renaming changes nothing of what is told of it
            with durable.explained("place the new copy"):
                make_part(target.parent)
                durable.rename(path, target, "maildir.place")
        except (FileNotFoundError, RunError) as error:
            if isinstance(error, RunError) and not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise MessageVanished("the new copy was removed while it waited in tmp") from error
        view.note(intent.where, entry)
        return target, _placed(copy, status)

    def _is_new(self, ref: MessageRef) -> bool:
        try:
            return self._files.with_file(ref, _part_of_existing) == "new"
        except MessageError:
            return False

    # --- retire ---------------------------------------------------------------------

    def retire(self, placed: Sequence[Placed], note: Note) -> list[Placed | MessageError]:
        """As ``Mailbox.retire``."""
        ready = self._prepare(placed, note)
        answers = [
            entry if isinstance(entry, MessageError) else _answer(self._remove, entry, note)
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
        looks = [_answer(self._look, copy) for copy in placed]
        merges = [look.merge for look in looks if isinstance(look, _Ready)]
        if changed := [merge for merge in merges if merge.is_needed]:
            note(changed)
        ready = [
            look if isinstance(look, MessageError) else _answer(self._carry_over, look)
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
        entry = self._set_flags(placed.ref, merge.new)
        found = Found(entry, new.status, new.digest, merge.new)
        return replace(look, placed=placed, new=found, renamed=True)

    def _set_flags(self, ref: MessageRef, flags: Flags) -> Entry:
        view = self._files.view(ref.folder)
        target = Entry("cur", f"{ref.key}{INFO}{view.letters().letters(flags)}")

        def rename(path: Path, _: Entry) -> Entry:
            try:
                if path != view.path(target):
                    durable.rename(path, view.path(target), "maildir.flags")
            except FileNotFoundError:
                raise  # a server was quicker; the file is looked for again
            except OSError as error:
                raise durable.explain(error, "carry flags over to the new copy") from error
            return target

        entry = self._files.with_file(ref, rename)
        view.note(ref.key, entry)
        return entry

    def _sync_renamed(self, ready: Sequence[_Ready]) -> None:
        renamed = [entry.placed.ref.folder for entry in ready if entry.renamed]
        with durable.explained("make the flags of new copies durable"):
            durable.sync_directories(
                (path for folder in renamed for path in self._parts(folder)), "maildir.flagged"
            )

    def _remove(self, ready: _Ready, note: Note) -> Placed:
        """Unlinks the old copy if both are still as they were read, else reads them again."""
        new, old = ready.placed.ref, ready.placed.written.intent.replaced
        for _ in range(LOOKS):
            try:
                if self._is_as_read(new, ready.new) and self._is_as_read(old, ready.old):
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
        path = self._files.view(ref.folder).path(found.entry)
        return self._files.is_unchanged(path, found)

    def _unlink(self, ref: MessageRef, found: Found) -> None:
        view = self._files.view(ref.folder)
        names = [found.entry, *view.twins(ref.key)]
        for entry in dict.fromkeys(names):
            durable.unlink(view.path(entry), "maildir.retire", missing_ok=entry != found.entry)
        view.forget(ref.key)

    def _after(self, copy: Placed) -> Placed:
        """The new copy after the old one went, whatever a server made of its name since."""
        try:
            status = self._files.with_file(copy.ref, lambda path, _: os.lstat(path))
        except MessageVanished:
            # The user removed the message the moment after; that is their right.
            return replace(copy, hint="")
        return replace(copy, hint=hint(status))

    def _parts(self, folder: str) -> list[Path]:
        directory = self._files.view(folder).folder.directory
        return [path for path in (directory / "new", directory / "cur") if path.is_dir()]

    # --- after a crash ----------------------------------------------------------------

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        """As ``Mailbox.find``."""
        return [
            self._whereabouts(intent, found)
            for intent, found in zip(intents, self._find_durable(intents), strict=True)
        ]

    def _whereabouts(self, intent: Intent, new: tuple[Path, Placed] | MessageError) -> Whereabouts:
        old = _answer(self._files.examine, intent.replaced, intent.revision)
        unread = [
            answer
            for answer in (new, old)
            if isinstance(answer, MessageError)
            and not isinstance(answer, (MessageChanged, MessageVanished))
        ]
        return Whereabouts(
            copies=() if isinstance(new, MessageError) else (new[1],),
            old_present=isinstance(old, Found),
            unclear=unread[0] if unread else None,
        )

    def _find_durable(self, intents: Sequence[Intent]) -> list[tuple[Path, Placed] | MessageError]:
        """What was placed before the crash may not be durable yet."""
        with durable.explained("make the new copies durable"):
            for looks_left in reversed(range(LOOKS)):
                found = [_answer(self._find, intent) for intent in intents]
                paths = [entry[0] for entry in found if not isinstance(entry, MessageError)]
                try:
                    if paths:
                        durable.sync_files(paths, "maildir.sync")
                        durable.sync_directories(
                            (path.parent for path in paths), "maildir.directory"
                        )
                except FileNotFoundError:  # renamed by a server since it was looked at
                    if not looks_left:
                        raise
                else:
                    break
        return found

    def _find(self, intent: Intent) -> tuple[Path, Placed]:
        found = self._files.examine(_ref(intent), "" if intent.met else intent.digest)
        path = self._files.view(_ref(intent).folder).path(found.entry)
        placed = _placed(Written.as_intended(intent), found.status)
        return path, replace(placed, revision=found.digest)

    def abandon(self, intents: Sequence[Intent]) -> None:
        """As ``Mailbox.abandon``."""
        with durable.explained("remove what was written and not placed"):
            for intent in intents:
                if not self._remove_staged(intent):
                    self._remove_elsewhere(intent)

    def _give_up(self, intents: Sequence[Intent]) -> None:
        """Removes what can be removed, on the way out with another error."""
        for intent in intents:
            with contextlib.suppress(OSError):
                self._remove_staged(intent)

    def _remove_staged(self, intent: Intent) -> bool:
        """Whether there was something, where the intent says."""
        try:
            path = self._staging_path(intent)
        except MessageError:
            return False
        is_there = _is_file(path)
        durable.unlink(path, "maildir.discard", missing_ok=True)
        return is_there

    def _remove_elsewhere(self, intent: Intent) -> None:
        """By its name, which is unique: its folder may have another one by now."""
        if not is_unique_name(intent.where):
            return
        for folder in filter(None, map(self._files.folder, self._files.folders())):
            path = folder.directory / "tmp" / intent.where
            if _is_file(path):
                durable.unlink(path, "maildir.discard", missing_ok=True)

    def _staging_path(self, intent: Intent) -> Path:
        """Where a new copy waits; its name comes from a job log that may be a stranger's."""
        if not is_unique_name(intent.where):
            raise MessageError(f"{intent.where!r} is not the name of a new copy")
        folder = self._files.folder(intent.folder)
        if folder is None:
            raise MessageVanished(f"the mailbox has no folder {intent.folder}")
        return folder.directory / "tmp" / intent.where


def _answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    """What ``act`` returns, or the error that costs just this message."""
    try:
        return act(*arguments)
    except MessageError as error:
        return error


def _open_new(opener: Callable[[], BinaryIO]) -> BinaryIO:
    try:
        return opener()
    except OSError as error:
        raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error


def _ref(intent: Intent) -> MessageRef:
    return intent.met or MessageRef(intent.folder, intent.where)


def _placed(copy: Written, status: os.stat_result) -> Placed:
    return Placed(copy, _ref(copy.intent), copy.intent.digest, hint(status))


def _part_of_existing(path: Path, entry: Entry) -> str:
    os.lstat(path)
    return entry.part


def _inherit(descriptor: int, old: _Inheritance) -> None:
    """Gives a new file the owner, mode and modification time it is to have."""
    new = os.fstat(descriptor)
    mode = old.mode
    if (new.st_uid, new.st_gid) != (old.owner, old.group):
        try:
            os.fchown(descriptor, old.owner, old.group)
        except PermissionError as error:
            if new.st_uid != old.owner:
                raise MessageError(
                    "the new copy cannot be given the owner of the old",
                    hint="run as the owner of the mailbox, or as root",
                ) from error
            # Rights meant for one group are not given to another.
            mode &= 0o707
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=old.times)


def _was_taken_over(content: Content) -> bool:
    return isinstance(content, FileContent) and not _is_file(content.path)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
