"""Exchanges new copies of a tree of ``.eml`` files for the old ones, at once.

A rename over the old name would remove whatever has that name by then, such as what an editor
put there the moment before. So the two names are exchanged, and what comes out is looked at
before it is removed: another file than the one that was read gets its name back.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sectool import durable
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import (
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    reason_of,
)
from sectool.mailbox.base import Placed
from sectool.mailbox.eml.layout import SUFFIX
from sectool.mailbox.eml.replacing import EmlReplacer
from sectool.mailbox.files.message_files import (
    LOOKS,
    Found,
    MessageFiles,
    answer,
    hint,
    is_unchanged,
)
from sectool.mailbox.files.names import as_named, is_message_name, unique_name
from sectool.mailbox.files.replacing import REMOVED
from sectool.mailbox.files.setting_aside import (
    SetAside,
    aside_name,
    digest_of,
    left_aside,
    put_back,
)
from sectool.mailbox.files.view import Entry
from sectool.message import Flags, Intent, digest_stream, open_regular_file

_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What an exchange is refused by that the system or the file system does not know."""


class EmlRetirer:
    """The half of a tree of ``.eml`` files that removes.

    Args:
        files: the reading half.
        replacer: the writing half.
    """

    def __init__(self, files: MessageFiles, replacer: EmlReplacer) -> None:
        self._files = files
        self._replacer = replacer

    def retire(self, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        """As ``Mailbox.retire``."""
        touched: list[Directory] = []
        with durable.explained("exchange a new copy for the old one"):
            answers = [answer(self._retire, copy, touched) for copy in placed]
        with durable.explained("make the removal of old copies durable"):
            durable.sync_directories(touched, "eml.retired")
        return answers

    def _retire(self, copy: Placed, touched: list[Directory]) -> Placed:
        intent = copy.written.intent
        ref = intent.replaced
        if copy.ref != ref:
            raise MessageError(f"the new copy of {ref} does not lie beside it")
        is_certain = False
        for _ in range(LOOKS):
            old = self._files.examine(ref, intent.revision)
            new = self._look_at_new(intent)
            is_certain = is_certain or old.is_settled
            if is_certain and self._exchange(intent, old, new):
                touched += {
                    self._replacer.beside(intent).directory,
                    self._files.directory(ref.folder),
                }
                return self._after(copy, new.status)
            # What was changed so lately could be changed again without another time.
            is_certain = True
        raise MessageChanged(f"the message {ref} does not stand still")

    def _look_at_new(self, intent: Intent) -> Found:
        """Reads what lies beside.

        Raises:
            MessageVanished: it is gone.
            MessageError: it is not whole.
        """
        try:
            beside = self._replacer.beside(intent)
            with open_regular_file(beside) as stream:
                status, digest = os.fstat(stream.fileno()), digest_stream(stream)
        except FileNotFoundError as error:
            raise MessageVanished(REMOVED) from error
        except OSError as error:
            if durable.is_shortage(error):
                raise
            raise MessageError(f"the new copy cannot be read: {reason_of(error)}") from error
        if digest != intent.digest:
            raise MessageError(
                "the new copy reads otherwise than it was written",
                hint="the disk may be failing, or somebody changed it",
            )
        return Found(Entry("", beside.name), status, digest, Flags(), is_settled=True)

    def _exchange(self, intent: Intent, old: Found, new: Found) -> bool:
        """Whether the old copy went; else it is as it was, or as somebody made it.

        Raises:
            MessageError: it cannot be removed, or is gone.
        """
        name = self._files.view(intent.replaced.folder).at(old.entry)
        beside = self._replacer.beside(intent)
        aside = beside.directory / f".{aside_name(intent, old.digest)}"
        with self._explained(intent), _going_back(aside, beside, new.status):
            durable.rename(beside, aside, "eml.ready")
            if not (is_unchanged(name, old) and is_unchanged(aside, new, renamed=True)):
                return False
            durable.exchange(aside, name, "eml.retire")
            try:
                if is_unchanged(aside, old, renamed=True):
                    durable.unlink(aside, "eml.discard-old")
                    return True
            except FileNotFoundError:
                return True  # somebody removed it as it came out
            except OSError:
                with contextlib.suppress(OSError):  # the error that was first is told
                    _take_back(aside, name, new.status)
                raise
            _take_back(aside, name, new.status)
            return False

    @contextmanager
    def _explained(self, intent: Intent) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise MessageVanished(f"the message {intent.replaced} is no longer there") from error
        except PermissionError as error:
            raise MessageError(
                f"the old copy {intent.replaced} cannot be replaced: {reason_of(error)}",
                hint="check its attributes and those of its directory",
            ) from error
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self._replacer.abandon([intent])
            raise ReadOnlyMailbox(
                "the file system cannot exchange two names at once, which is how an .eml file is"
                " replaced",
                hint="copy the mailbox to one that can, such as ext4, XFS or Btrfs",
            ) from error

    def _after(self, copy: Placed, new: os.stat_result) -> Placed:
        """The new copy; whatever its owner made of it since, the next walk tells."""
        try:
            status = self._files.with_file(copy.ref, lambda file, _: file.lstat())
        except MessageVanished:
            status = new
        written, intent = copy.written, copy.written.intent
        return Placed(written, intent.replaced, intent.digest, hint(status))

    # --- after a crash ----------------------------------------------------------------

    def settle(self, intents: Sequence[Intent]) -> None:
        """Ends the exchanges that a crash left.

        Raises:
            OSError: one can neither be ended nor undone.
        """
        for left in left_aside(self._files, "", intents):
            with contextlib.suppress(MessageError):  # its folder is not the owner's any more
                self._settle(left)

    def _settle(self, left: SetAside) -> None:
        """The new copy waits again; an old one goes; any other file gets its name back."""
        intent, aside = left.intent, left.file
        digest = digest_of(aside)
        if digest == left.digest and digest != intent.digest:
            durable.unlink(aside, "eml.discard-old")
        elif digest == intent.digest:
            durable.rename(aside, aside.directory / f".{intent.where}", "eml.put-back")
        else:
            name = self._name_before(left)
            if digest_of(name) == intent.digest:
                durable.exchange(aside, name, "eml.put-back")
                durable.rename(aside, aside.directory / f".{intent.where}", "eml.put-back")
            else:
                _put_back(aside, name)
        durable.sync_directories([aside.directory], "eml.retired")

    def _name_before(self, left: SetAside) -> DirectoryEntry:
        """The name that an old copy had; where a log names none, a new one."""
        replaced, directory = left.intent.replaced, left.file.directory
        if replaced.folder != left.folder:
            with contextlib.suppress(MessageError, OSError):  # it is gone: beside where it was
                directory = self._files.writable_directory(replaced.folder, "")
        name = as_named(replaced.key)
        return directory / (name if is_message_name(name) else _new_name(left.intent.size))


def _new_name(size: int) -> str:
    return f"{unique_name(size)}{SUFFIX}"


@contextmanager
def _going_back(
    aside: DirectoryEntry, beside: DirectoryEntry, new: os.stat_result
) -> Iterator[None]:
    """Lets a new copy wait again that did not come in."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(aside.lstat(), new):
                durable.rename(aside, beside, "eml.wait")


def _take_back(aside: DirectoryEntry, name: DirectoryEntry, new: os.stat_result) -> None:
    """Gives what came out its name again; nobody's file is removed."""
    try:
        durable.exchange(aside, name, "eml.put-back")
    except FileNotFoundError:  # somebody removed the new copy
        _put_back(aside, name)
        return
    if not os.path.samestat(aside.lstat(), new):
        _put_back(aside, name)  # what took the name after the exchange
    durable.sync_directories([name.directory], "eml.put-back")


def _put_back(aside: DirectoryEntry, name: DirectoryEntry) -> None:
    put_back(aside, name, _new_name(aside.lstat().st_size), "eml.put-back")
