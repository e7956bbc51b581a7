"""Writes the file of a folder anew, with new copies in the places of old ones, and renames it in.

The old file is locked meanwhile, as Debian's policy has it, so that a delivery waits. What is
copied is taken from it as it is now, with the flags it has now, and read back message by message
before it gets the name. A program that had the old file open may write to it even afterwards: the
old file keeps a second name until nobody has it open for writing, and what came late is delivered
into the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import BinaryIO

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import Locked, MessageChanged, MessageError, MessageVanished, RunError
from sectool.mailbox.base import Placed
from sectool.mailbox.files.inheriting import Inheritance, attributes_of
from sectool.mailbox.mbox.boxes import Boxes, answer
from sectool.mailbox.mbox.form import HEADER_LIMIT, Header, separator
from sectool.mailbox.mbox.index import FileState, Index, key_of, read_index
from sectool.mailbox.mbox.late import BOX, Endings, make_box, missing_end, old_name
from sectool.mailbox.mbox.layout import Layout, end_by_length, lay_out
from sectool.mailbox.mbox.locking import HeldFile, locked, locked_beside
from sectool.mailbox.mbox.reader import Reader
from sectool.mailbox.mbox.waiting import Waiting, digest_in, whole_name
from sectool.message import COPY_BLOCK, Intent, MessageRef, open_regular_file
from sectool.values import dataclass

TRIES = 5
"""Times a folder is written that programs change although it is locked."""

_NOT_IN_KERNEL = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


@dataclass(frozen=True, slots=True)
class _Change:
    """One new copy on its way into the file."""

    intent: Intent
    written: DirectoryEntry
    number: int | None
    """Of the message that it replaces; None: it comes at the end."""


@dataclass(slots=True)
class _Expected:
    """What is to be read back of the new file, message by message."""

    keys: bytearray
    digests: bytearray


class Rewriter:
    """The half of a mailbox that writes to the files of folders.

    Args:
        boxes: the files.
        waiting: the new copies.
        held: keeps other runs from a mailbox of one file; None: from a tree others do.
    """

    def __init__(
        self,
        boxes: Boxes,
        waiting: Waiting,
        held: HeldFile | None,
    ) -> None:
        self._boxes = boxes
        self._folders = boxes.folders
        self._waiting = waiting
        self._held = held
        self.endings = Endings(boxes.folders, waiting)

    def replace(self, folder: str, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        """Puts new copies into the places of old ones, all of a folder by one rename.

        Raises:
            Locked: another program holds the file.
            SectoolError: it could not be written; the old file is as it was.
        """
        return self._rewritten(self._folders.entry(folder), folder, placed)

    def add(self, folder: str, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        """Puts further messages at the end of a folder, which is made where there is none.

        Raises:
            Locked: another program holds the file.
            SectoolError: it could not be written; the old file is as it was.
        """
        file = self._folders.entry_of_new(folder)
        make_box(self._folders, file)
        return self._rewritten(file, folder, placed)

    # --- one exchange ----------------------------------------------------------------------

    def _rewritten(
        self, file: DirectoryEntry, folder: str, placed: Sequence[Placed]
    ) -> list[Placed | MessageError]:
        for _ in range(TRIES):
            with locked(file):
                answers = self._try(file, folder, placed)
            if answers is not None:
                break
        else:
            reason = f"the folder {folder} is changed by a program that does not lock it"
            return [MessageChanged(reason) for _ in placed]
        with contextlib.suppress(Locked):  # the next run ends it
            self.endings.end_exchange(file)
        with contextlib.suppress(MessageVanished):
            beside = self._waiting.directory(file)
            for copy, answered in zip(placed, answers, strict=True):
                if isinstance(answered, Placed):
                    self._waiting.remove(copy.written.intent, beside)
        self._waiting.remove_directory(file)
        self.endings.remember(file)
        return answers

    def _try(
        self, file: DirectoryEntry, folder: str, placed: Sequence[Placed]
    ) -> list[Placed | MessageError] | None:
        """Writes and exchanges the file; None where it changed meanwhile, and is as it was."""
        with self._folders.open(folder) as old:
            index = self._boxes.index_of(folder, old.fileno())
            taken: set[int] = set()
            beside = self._waiting.ensure_directory(file)
            ready = [self._ready(beside, index, copy, taken) for copy in placed]
            changes = [change for change in ready if isinstance(change, _Change)]
            if not changes:
                return [change for change in ready if isinstance(change, MessageError)]
            # An exchange before this one may not have been ended yet.
            self.endings.end(file, beside, waits=True)
            box = beside / BOX
            spoilt: dict[int, MessageError] = {}
            written = self._written(box, old, index, changes, spoilt)
            if FileState.of(old.fileno()) != index.state:
                durable.unlink(box, "mbox.discard")
                return None
            if written is None:
                durable.unlink(box, "mbox.discard")
                raise RunError(
                    "the new mbox file reads back otherwise than it was written",
                    hint="the disk may be failing; the old file is as it was",
                )
            # Whoever opens the new file waits until it was looked at.
            with locked_beside(box):
                self._exchange(file, beside, old, index.state.size)
                renamed = FileState.of_status(file.lstat())
            if renamed != replace(written.state, changed=renamed.changed):
                raise RunError(f"{file} was exchanged while it was written", hint="see by whom")
        written.state, written.is_settled = renamed, False
        self._boxes.keep(folder, written)
        done = [change for change in changes if id(change) not in spoilt]
        numbers = _numbers_after(done, len(written))
        return [
            change
            if isinstance(change, MessageError)
            else spoilt.get(id(change)) or _placed(copy, folder, written, numbers[id(change)])
            for copy, change in zip(placed, ready, strict=True)
        ]

    def _ready(
        self, beside: Directory, index: Index, copy: Placed, taken: set[int]
    ) -> _Change | MessageError:
        """Looks at both copies once more; the answer is the error that costs this message."""
        intent = copy.written.intent
        try:
            written = beside / whole_name(intent)
            if intent.internal_date is not None:
                return _Change(intent, written, None)
            number = index.find(intent.replaced.key)
            if number is None:
                raise MessageVanished(f"the message {intent.replaced} is no longer there")
            if index.digest(number) != intent.revision or number in taken:
                raise MessageChanged(f"the message {intent.replaced} is not what it was")
            copy.written.merged(old=index.flags(number), new=copy.written.flags)
        except MessageError as error:
            return error
        taken.add(number)
        return _Change(intent, written, number)

    def _written(
        self,
        box: DirectoryEntry,
        old: BinaryIO,
        index: Index,
        changes: Sequence[_Change],
        spoilt: dict[int, MessageError],
    ) -> Index | None:
        """The new file, durable and read past the page cache; None: it is not what it is to be."""
        durable.unlink(box, "mbox.discard", missing_ok=True)
        with durable.new_file(box) as new:
            crashpoint("mbox.rewrite")
            expected = self._write(new, old.fileno(), index, changes, spoilt)
            new.flush()
            status, attributes = os.fstat(old.fileno()), attributes_of(old.fileno())
            Inheritance.of_copy(status, attributes).give(new.fileno())
        with open_regular_file(box) as stream:
            durable.sync_files([stream], "mbox.sync")
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            written = read_index(stream.fileno())
        is_whole = (written.keys, written.digests) == (expected.keys, expected.digests)
        return written if is_whole else None

    def _write(
        self,
        new: BinaryIO,
        old: int,
        index: Index,
        changes: Sequence[_Change],
        spoilt: dict[int, MessageError],
    ) -> _Expected:
        """Writes the new file, and tells what is to be read back of it."""
        expected = _Expected(bytearray(), bytearray())
        reader = Reader(old, index.state.size)
        position, following = 0, 0
        replacing = sorted(
            ((change.number, change) for change in changes if change.number is not None),
            key=lambda one: one[0],
        )
        for number, change in replacing:
            start, end = index.starts[number], index.ends[number]
            _copy_range(old, new, position, start)
            _expect_as_before(expected, index, following, number)
            is_plain = bool(index.plain[number])
            layout = lay_out(reader, start, end, by_length=index.by_length, is_plain=is_plain)
            # One that comes to be right would say of the whole file how it is to be read.
            says_length = end_by_length(reader, layout) == layout.end
            put = answer(self._put, new, change, layout, expected, says_length)
            if isinstance(put, MessageError):
                spoilt[id(change)] = put
                position, following = start, number
            else:
                position, following = end, number + 1
        _copy_range(old, new, position, index.state.size)
        _expect_as_before(expected, index, following, len(index))
        added = [change for change in changes if change.number is None]
        if added:
            new.write(missing_end(reader, is_last=position < index.state.size))
        for change in added:
            date = change.intent.internal_date or datetime.now().astimezone()
            line = separator(date, b"\n")
            nothing = Layout(0, 0, line, Header(b""), 0, (), is_ended=True)
            put = answer(self._put, new, change, nothing, expected, False)
            if isinstance(put, MessageError):
                spoilt[id(change)] = put
        return expected

    def _put(
        self, new: BinaryIO, change: _Change, old: Layout, expected: _Expected, says_length: bool
    ) -> None:
        with self._waiting.open(change.written) as stream:
            layout = self._waiting.layout(stream, change.intent)
            header, reader = layout.header, Reader(stream.fileno(), layout.end, about=0)
            body = layout.header_start + len(header.raw)
            end = b"\r\n" if old.line.endswith(b"\r\n") else b"\n"
            empty = 0 if body == reader.size else reader.read(body, body + 2).find(b"\n") + 1
            length = max(reader.size - body - empty, 0) if says_length else None
            carried = old.header.carried_to(header, length)
            if len(carried) + len(b"\r\n") > HEADER_LIMIT:
                raise MessageError("its header block is too long for an mbox")
            new.write(old.line + carried)
            _copy_range(reader.descriptor, new, body, reader.size)
            new.write(end)
        digest = bytes.fromhex(digest_in(change.intent))
        expected.keys += key_of(old.line, digest)
        expected.digests += digest

    def _exchange(self, file: DirectoryEntry, beside: Directory, old: BinaryIO, size: int) -> None:
        if self._held is not None:
            self._held.hold(beside / BOX)
        kept = beside / old_name(size, (beside / BOX).lstat().st_ino)
        durable.link(old, kept, "mbox.keep")
        durable.sync_directories([beside], "mbox.keep")
        durable.rename(beside / BOX, file, "mbox.exchange")
        durable.sync_directories([file.directory, beside], "mbox.exchanged")


def _copy_range(source: int, target: BinaryIO, start: int, end: int) -> None:
    """Copies a range of a file to the end of another, in the kernel where it can."""
    target.flush()
    while start < end:
        try:
            count = os.copy_file_range(source, target.fileno(), end - start, start)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
            count = os.write(target.fileno(), os.pread(source, min(COPY_BLOCK, end - start), start))
        if not count:
            return  # it became shorter, which is seen when what was copied is read back
        start += count


def _expect_as_before(expected: _Expected, index: Index, first: int, last: int) -> None:
    keys, digests = index.tables(first, last)
    expected.keys += keys
    expected.digests += digests


def _numbers_after(changes: Sequence[_Change], count: int) -> dict[int, int]:
    """The numbers of new copies in the new file: no message comes or goes but at its end."""
    added = [change for change in changes if change.number is None]
    numbers = {id(change): count - len(added) + place for place, change in enumerate(added)}
    replaced = (change for change in changes if change.number is not None)
    return numbers | {id(change): change.number or 0 for change in replaced}


def _placed(copy: Placed, folder: str, index: Index, number: int) -> Placed:
    ref = MessageRef(folder, index.key(number))
    return replace(copy, ref=ref, revision=index.digest(number), hint=index.hint(number))
