"""Writes new messages of a Maildir: staged in ``tmp``, made durable, placed.

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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import DirectoryEntry, is_regular
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    RunError,
    reason_of,
)
from sectool.mailbox.base import Placed, Whereabouts, Written
from sectool.mailbox.maildir.adding import directory_for, directory_to_write
from sectool.mailbox.maildir.files import LOOKS, Found, MaildirFiles, answer, hint
from sectool.mailbox.maildir.folders import INBOX, NOTHING_THERE
from sectool.mailbox.maildir.inheriting import Inheritance
from sectool.mailbox.maildir.names import INFO, is_unique_name
from sectool.mailbox.maildir.view import GONE, Entry
from sectool.message import (
    COPY_BLOCK,
    Content,
    FileContent,
    Intent,
    MessageRef,
    open_regular_file,
)

Answer = TypeVar("Answer")

_REMOVED = "the new copy was removed while it waited in tmp"

OPEN_FILES = 64
"""New copies that are open at once after a crash; there may be any number of them."""


class MaildirReplacer:
    """The writing half of a Maildir.

    Args:
        files: the reading half.
        spool: path of the ``tmp`` of its root, from which files may be taken over by
            renaming; None: all are copied.
    """

    def __init__(self, files: MaildirFiles, spool: Path | None) -> None:
        self._files = files
        self._spool = spool

    # --- write -----------------------------------------------------------------

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        """As ``Mailbox.write``."""
        try:
            with durable.explained("write to the mailbox"):
                return [answer(self._write, *entry) for entry in intended]
        except BaseException:
            self._give_up([intent for intent, _ in intended])
            raise

    def _write(self, intent: Intent, content: Content) -> Written:
        if intent.internal_date is None:
            old = self._files.examine(intent.replaced, intent.revision)
            inheritance = Inheritance.of_copy(old.status, old.attributes)
        else:
            folder = directory_for(self._files, intent.folder)
            inheritance = Inheritance.in_folder(folder, intent.internal_date)
        self._write_staged(intent, content, inheritance)
        return Written.as_intended(intent)

    def _write_staged(self, intent: Intent, content: Content, inheritance: Inheritance) -> None:
        _check_name(intent)
        try:
            staged = directory_to_write(self._files, intent.folder, "tmp") / intent.where
        except FileNotFoundError as error:
            raise MessageVanished(f"the folder {intent.folder} is no longer there") from error
        spooled = self._spooled(content)
        if spooled is not None and not is_regular(spooled) and is_regular(staged):
            return  # taken over by a try that failed after it; placing compares it
        durable.unlink(staged, "maildir.discard", missing_ok=True)  # of an interrupted run
        if spooled is None or not _take_over(spooled, content, staged, inheritance):
            _copy(content, staged, inheritance)

    def _spooled(self, content: Content) -> DirectoryEntry | None:
        """A whole file of the spool directory; None: it is another content."""
        if not isinstance(content, FileContent) or content.path.parent != self._spool:
            return None
        return self._files.directory(INBOX, "tmp") / content.path.name

    # --- place --------------------------------------------------------------------

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        """As ``Mailbox.place``."""
        with ExitStack() as stack:
            # Open until they are placed: what was synced and compared is what is placed.
            streams = [answer(self._open_staged, copy.intent, stack) for copy in written]
            try:
                with durable.explained("make the new copies durable"):
                    opened = _without_errors(streams)
                    read = iter(durable.sync_and_read_back(opened, "maildir.sync"))
            except BaseException:
                # What a failed sync covered is never trusted again, so none is kept.
                self._give_up([copy.intent for copy in written])
                raise
            answers = [
                stream
                if isinstance(stream, MessageError)
                else answer(self._place, copy, stream, next(read))
                for copy, stream in zip(written, streams, strict=True)
            ]
        with durable.explained("make the new names durable"):
            durable.sync_directories(
                (file.directory for file, _ in _without_errors(answers)), "maildir.directory"
            )
        return [answer if isinstance(answer, MessageError) else answer[1] for answer in answers]

    def _open_staged(self, intent: Intent, stack: ExitStack) -> BinaryIO:
        try:
            stream = open_regular_file(self._staged(intent))
        except FileNotFoundError as error:
            raise MessageVanished(_REMOVED) from error
        except OSError as error:
            if durable.is_shortage(error):
                raise durable.explain(error, "read the new copies") from error
            raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error
        return stack.enter_context(stream)

    def _place(
        self, copy: Written, stream: BinaryIO, read: durable.ReadBack
    ) -> tuple[DirectoryEntry, Placed]:
        """Compares a synced copy with its intent and gives it its name."""
        if read.error is not None:
            self._remove_staged(copy.intent)
            reason = reason_of(read.error)
            raise MessageError(f"the new copy does not read back: {reason}") from read.error
        if read.digest != copy.intent.digest:
            self._remove_staged(copy.intent)
            raise MessageError(
                "the new copy reads back otherwise than it was written",
                hint="the disk may be failing",
            )
        return self._move_in(copy, os.fstat(stream.fileno()))

    def _move_in(self, copy: Written, status: os.stat_result) -> tuple[DirectoryEntry, Placed]:
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
                staged = self._staged(intent)
                target = directory_to_write(self._files, intent.folder, entry.part) / entry.name
                if not os.path.samestat(staged.lstat(), status):
                    raise MessageVanished(_REMOVED)
                durable.rename(staged, target, "maildir.place")
        except RunError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise MessageVanished(_REMOVED) from error
        view.note(intent.where, entry)
        return target, _placed(copy, status)

    # --- after a crash ----------------------------------------------------------------

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        """As ``Mailbox.find``."""
        found: list[Whereabouts] = []
        for start in range(0, len(intents), OPEN_FILES):
            some = intents[start : start + OPEN_FILES]
            found += map(self._whereabouts, some, self._find_durable(some))
        return found

    def _whereabouts(self, intent: Intent, new: Placed | MessageError) -> Whereabouts:
        old = answer(self._files.examine, intent.replaced, intent.revision)
        unread = [
            answer
            for answer in (new, old)
            if isinstance(answer, MessageError)
            and not isinstance(answer, (MessageChanged, MessageVanished))
        ]
        return Whereabouts(
            copies=() if isinstance(new, MessageError) else (new,),
            old_present=isinstance(old, Found),
            unclear=unread[0] if unread else None,
        )

    def _find_durable(self, intents: Sequence[Intent]) -> list[Placed | MessageError]:
        """What was placed before the crash may not be durable yet."""
        with durable.explained("make the new copies durable"):
            for looks_left in reversed(range(LOOKS)):
                found = [answer(self._find, intent) for intent in intents]
                files = [file for file, _ in _without_errors(found)]
                try:
                    with ExitStack() as stack:
                        streams = [stack.enter_context(open_regular_file(file)) for file in files]
                        if streams:
                            durable.sync_files(streams, "maildir.sync")
                            durable.sync_directories(
                                (file.directory for file in files), "maildir.directory"
                            )
                except OSError as error:
                    # Renamed by a server, or exchanged, since it was looked at.
                    if not looks_left or error.errno not in {*GONE, *NOTHING_THERE}:
                        raise
                else:
                    break
        return [answer if isinstance(answer, MessageError) else answer[1] for answer in found]

    def _find(self, intent: Intent) -> tuple[DirectoryEntry, Placed]:
        found = self._files.examine(_ref(intent), "" if intent.met else intent.digest)
        file = self._files.view(_ref(intent).folder).at(found.entry)
        placed = _placed(Written.as_intended(intent), found.status)
        return file, replace(placed, revision=found.digest)

    def abandon(self, intents: Sequence[Intent]) -> None:
        """As ``Mailbox.abandon``."""
        with durable.explained("remove what was written and not placed"):
            left = [intent for intent in intents if not self._remove_staged(intent)]
            # By its name, which is unique: its folder may have another one by now.
            for folder in self._files.folders() if left else ():
                for intent in left:
                    with contextlib.suppress(MessageError):
                        self._remove_in(folder, intent)

    def _give_up(self, intents: Sequence[Intent]) -> None:
        """Removes what can be removed, on the way out with another error."""
        for intent in intents:
            with contextlib.suppress(OSError):
                self._remove_staged(intent)

    def _remove_staged(self, intent: Intent) -> bool:
        """Whether there was something, where the intent says."""
        try:
            return self._remove_in(intent.folder, intent)
        except MessageError:
            return False

    def _remove_in(self, folder: str, intent: Intent) -> bool:
        try:
            staged = self._staged(intent, folder)
            is_there = is_regular(staged)
        except NotADirectoryError:
            return False
        except FileNotFoundError:
            return False
        durable.unlink(staged, "maildir.discard", missing_ok=True)
        return is_there

    def _staged(self, intent: Intent, folder: str = "") -> DirectoryEntry:
        """Where a new copy waits; its name comes from a job log that may be a stranger's."""
        _check_name(intent)
        return self._files.directory(folder or intent.folder, "tmp") / intent.where


def _check_name(intent: Intent) -> None:
    if not is_unique_name(intent.where):
        raise MessageError(f"{intent.where!r} is not the name of a new copy")


def _take_over(
    spooled: DirectoryEntry, content: Content, staged: DirectoryEntry, inheritance: Inheritance
) -> bool:
    """Renames a file of the spool directory; False where it must be copied."""
    with _open_new(lambda: open_regular_file(spooled)) as stream:
        status = os.fstat(stream.fileno())
        if content.size != status.st_size or status.st_nlink != 1:
            return False
        inheritance.give(stream.fileno())
    try:
        durable.rename(spooled, staged, "maildir.stage")
    except OSError as error:
        if error.errno != errno.EXDEV:  # the folder is a file system of its own
            raise
        return False
    return True


def _copy(content: Content, staged: DirectoryEntry, inheritance: Inheritance) -> None:
    with _open_new(content.open) as source, durable.new_file(staged) as stream:
        crashpoint("maildir.stage")
        shutil.copyfileobj(source, stream, COPY_BLOCK)
        stream.flush()  # a later write would change the time again
        inheritance.give(stream.fileno())


def _without_errors(answers: Iterable[Answer | MessageError]) -> list[Answer]:
    return [answer for answer in answers if not isinstance(answer, MessageError)]


def _open_new(opener: Callable[[], BinaryIO]) -> BinaryIO:
    try:
        return opener()
    except OSError as error:
        raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error


def _ref(intent: Intent) -> MessageRef:
    return intent.met or MessageRef(intent.folder, intent.where)


def _placed(copy: Written, status: os.stat_result) -> Placed:
    return Placed(copy, _ref(copy.intent), copy.intent.digest, hint(status))


def _part_of_existing(file: DirectoryEntry, entry: Entry) -> str:
    file.lstat()
    return entry.part
