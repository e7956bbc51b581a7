"""Writes new messages of one file each: staged where no mail program sees them, made durable.

What is particular to a store is where they are staged, and how they are placed and found. A
name that comes with an intent is made into a path only if this package can have chosen it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeVar

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry, is_regular, status_of_file
from sectool.durable import ReadBack
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    reason_of,
)
from sectool.mailbox.base import Placed, Whereabouts, Written
from sectool.mailbox.files.folders import NOTHING_THERE
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.files.message_files import LOOKS, Found, MessageFiles, answer
from sectool.mailbox.files.names import is_unique_name
from sectool.mailbox.files.view import GONE
from sectool.message import COPY_BLOCK, Content, FileContent, Intent, open_regular_file
from sectool.sight import Sight

Answer = TypeVar("Answer")

REMOVED = "the new copy was removed while it waited"

OPEN_FILES = 64
"""New copies that are open at once after a crash; there may be any number of them."""


class FileReplacer(ABC):
    """The writing half of a store of one file a message.

    Args:
        files: the reading half.
        spool: path of a directory in the root from which files may be taken over by renaming;
            None: all are copied.
    """

    point: ClassVar[str]
    """Begins the names of crash points."""

    def __init__(self, files: MessageFiles, spool: Path | None = None) -> None:
        self._files = files
        self._spool = spool
        self._durable: dict[Sight, str] = {}
        """Digests of the new copies that wait and were read back by who wrote them."""

    # --- what sets a store apart ---------------------------------------------------

    @abstractmethod
    def waiting(self, folder: str, where: str) -> DirectoryEntry:
        """What a new copy of a folder is called while no mail program sees it."""

    @abstractmethod
    def waiting_to_write(self, folder: str, where: str) -> DirectoryEntry:
        """The same, to be written."""

    @abstractmethod
    def directory_for(self, folder: str) -> Directory:
        """The directory of a folder, made where there is none."""

    @abstractmethod
    def move_in(self, copy: Written, sight: Sight) -> tuple[DirectoryEntry, Placed]:
        """Places a copy that is durable and whole.

        Args:
            copy: waits.
            sight: of its file, as it was read back.

        Returns:
            The name whose directory is to be synced as well, and the answer.
        """

    @abstractmethod
    def find_new(self, intent: Intent) -> tuple[DirectoryEntry, Placed]:
        """What may be the new copy, and its file.

        Raises:
            MessageVanished: there is none.
            MessageChanged: there is another.
            MessageError: it cannot be told.
        """

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
            inheritance = self._files.inheritance_of(intent.replaced, intent.revision)
        else:
            folder = self.directory_for(intent.folder)
            inheritance = Inheritance.in_folder(folder, intent.internal_date)
        self._write_staged(intent, content, inheritance)
        return Written.as_intended(intent)

    def _write_staged(self, intent: Intent, content: Content, inheritance: Inheritance) -> None:
        check_name(intent)
        try:
            staged = self.waiting_to_write(intent.folder, intent.where)
        except FileNotFoundError as error:
            raise MessageVanished(f"the folder {intent.folder} is no longer there") from error
        if not self._take_over(content, staged, inheritance):
            self._copy(content, staged, inheritance)

    def _take_over(
        self, content: Content, staged: DirectoryEntry, inheritance: Inheritance
    ) -> bool:
        """Renames a file of the spool directory; False where it must be copied."""
        if not isinstance(content, FileContent) or content.path.parent != self._spool:
            return False
        spooled = self._files.root.child(content.path.parent.name) / content.path.name
        status = status_of_file(spooled)
        if status is None:
            # Taken over by a try that failed after it; placing compares it.
            return is_regular(staged)
        if content.size != status.st_size or status.st_nlink != 1:
            return False
        sight = None
        if content.inherited == inheritance:
            sight = content.sight
        else:
            with _open_new(lambda: open_regular_file(spooled)) as stream:
                inheritance.give(stream.fileno())
        try:
            durable.rename(spooled, staged, f"{self.point}.stage")
        except OSError as error:
            if error.errno != errno.EXDEV:  # the folder is a file system of its own
                raise
            return False
        if sight is not None and sight == Sight.of(status):
            renamed = sight.renamed(Sight.of(staged.lstat()))
            if renamed is not None:
                self._durable[renamed] = content.digest
        return True

    def _copy(self, content: Content, staged: DirectoryEntry, inheritance: Inheritance) -> None:
        durable.unlink(staged, f"{self.point}.discard", missing_ok=True)  # of an interrupted run
        with _open_new(content.open) as source, durable.new_file(staged) as stream:
            crashpoint(f"{self.point}.stage")
            shutil.copyfileobj(source, stream, COPY_BLOCK)
            stream.flush()  # a later write would change the time again
            inheritance.give(stream.fileno())

    # --- place --------------------------------------------------------------------

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        """As ``Mailbox.place``."""
        with ExitStack() as stack:
            # Open until they are placed: what was synced and compared is what is placed.
            waiting = [answer(self._look_at_staged, copy.intent, stack) for copy in written]
            opened = [one for one in waiting if not isinstance(one, (ReadBack, MessageError))]
            try:
                with durable.explained("make the new copies durable"):
                    read = iter(durable.sync_and_read_back(opened, f"{self.point}.sync"))
            except BaseException:
                # What a failed sync covered is never trusted again, so none is kept.
                self._give_up([copy.intent for copy in written])
                raise
            answers = [
                one
                if isinstance(one, MessageError)
                else answer(self._place, copy, one if isinstance(one, ReadBack) else next(read))
                for copy, one in zip(written, waiting, strict=True)
            ]
        self._durable.clear()
        with durable.explained("make the new names durable"):
            durable.sync_directories(
                (file.directory for file, _ in _without_errors(answers)), f"{self.point}.directory"
            )
        return [answer if isinstance(answer, MessageError) else answer[1] for answer in answers]

    def _look_at_staged(self, intent: Intent, stack: ExitStack) -> ReadBack | BinaryIO:
        """A new copy that waits, open; or what was read back of it before."""
        try:
            staged = self.staged(intent)
            if (digest := self._durable.get(sight := Sight.of(staged.lstat()))) is not None:
                return ReadBack(digest, sight)
            stream = open_regular_file(staged)
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except OSError as error:
            if durable.is_shortage(error):
                raise durable.explain(error, "read the new copies") from error
            raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error
        return stack.enter_context(stream)

    def _place(self, copy: Written, read: ReadBack) -> tuple[DirectoryEntry, Placed]:
        """Compares a synced copy with its intent and gives it its name."""
        if read.sight is None:
            self._remove_staged(copy.intent)
            reason = read.error and reason_of(read.error)
            raise MessageError(f"the new copy does not read back: {reason}") from read.error
        if read.digest != copy.intent.digest:
            self._remove_staged(copy.intent)
            raise MessageError(
                "the new copy reads back otherwise than it was written",
                hint="the disk may be failing",
            )
        return self.move_in(copy, read.sight)

    def rename_in(
        self, staged: DirectoryEntry, target: DirectoryEntry, sight: Sight, digest: str
    ) -> os.stat_result:
        """Gives a new copy its name, provided that it is the file that was read back.

        Args:
            staged: its name so far.
            target: its name from now on.
            sight: of the file.
            digest: of its bytes.

        Raises:
            MessageVanished: it is another file.
            OSError: it cannot be renamed.
        """
        status = staged.lstat()
        if (status.st_dev, status.st_ino) != sight.file:
            raise MessageVanished(REMOVED)
        durable.rename(staged, target, f"{self.point}.place")
        if Sight.of(status) == sight:
            self._files.note_rename(sight, target, digest)
        return status

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
                found = [answer(self.find_new, intent) for intent in intents]
                files = [file for file, _ in _without_errors(found)]
                try:
                    with ExitStack() as stack:
                        streams = [stack.enter_context(open_regular_file(file)) for file in files]
                        if streams:
                            durable.sync_files(streams, f"{self.point}.sync")
                            durable.sync_directories(
                                (file.directory for file in files), f"{self.point}.directory"
                            )
                except OSError as error:
                    # Renamed by a server, or exchanged, since it was looked at.
                    if not looks_left or error.errno not in {*GONE, *NOTHING_THERE}:
                        raise
                else:
                    break
        return [answer if isinstance(answer, MessageError) else answer[1] for answer in found]

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
        was_there = False
        for left in self.left_by(intent, folder):
            try:
                is_there = is_regular(left)
            except NotADirectoryError:
                continue
            durable.unlink(left, f"{self.point}.discard", missing_ok=True)
            was_there |= is_there
        return was_there

    def left_by(self, intent: Intent, folder: str) -> list[DirectoryEntry]:
        """What a copy that is not placed may be called."""
        try:
            return [self.staged(intent, folder)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def staged(self, intent: Intent, folder: str = "") -> DirectoryEntry:
        """Where a new copy waits; its name comes from a job log that may be a stranger's."""
        check_name(intent)
        return self.waiting(folder or intent.folder, intent.where)


def check_name(intent: Intent) -> None:
    """Holds that the name of a new copy can be of this package.

    Raises:
        MessageError: it cannot; it comes from a job log that may be a stranger's.
    """
    if not is_unique_name(intent.where):
        raise MessageError(f"{intent.where!r} is not the name of a new copy")


def _without_errors(answers: Iterable[Answer | MessageError]) -> list[Answer]:
    return [answer for answer in answers if not isinstance(answer, MessageError)]


def _open_new(opener: Callable[[], BinaryIO]) -> BinaryIO:
    try:
        return opener()
    except OSError as error:
        raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error
