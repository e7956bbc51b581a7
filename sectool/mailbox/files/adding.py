"""Makes directories in a mailbox, for messages that come into it."""

from __future__ import annotations

import os
import re

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MailboxError, MessageError
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.files.message_files import MessageFiles

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]{1,64}")


def known_directory(files: MessageFiles, name: str) -> Directory | None:
    """The directory of a folder by name; None: it has to be made.

    Raises:
        ValueError: a name that has to be made is not ASCII letters and digits.
        OSError: it cannot be opened.
    """
    if files.folder(name) is not None:
        try:
            return files.directory(name)
        except FileNotFoundError:
            pass  # it was removed since it was found
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name")
    return None


def make_folder(entry: DirectoryEntry) -> Directory:
    """The directory of a folder; made, durably, where there is none.

    Raises:
        MailboxError: something else lies where the folder would.
        OSError: it cannot be made.
    """
    try:
        return ensure_directory(entry)
    except MessageError as error:
        raise MailboxError(
            f"{entry.name} in the mailbox is not a folder", hint="rename it or move it away"
        ) from error


def ensure_directory(entry: DirectoryEntry) -> Directory:
    """Opens a directory, made where it is missing, with the owner and rights of the one it lies in.

    Copied mailboxes lack a ``tmp``, ``new`` or ``cur`` that was empty; one that belongs to
    another user would keep their mail server from delivering.

    Raises:
        MessageError: a link or a file lies there, or what was made was exchanged at once.
        OSError: it cannot be made or opened.
    """
    try:
        directory, is_new = entry.open_directory(), False
    except NotADirectoryError as error:
        raise MessageError(
            f"{entry.name} in the mailbox is no directory, or a link to one",
            hint="put a directory in its place",
        ) from error
    except FileNotFoundError:
        entry.mkdir(0o700)
        crashpoint("mailbox.made")
        directory, is_new = entry.open_directory(), True
    status = directory.status()
    # One that a killed run made may not have been given yet.
    if not is_new and status.st_uid == entry.directory.status().st_uid:
        return directory
    # Whose directory it lies in may have put another there: to nothing else is anything given.
    is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    with directory.scan() as entries:
        is_ours = is_ours and next(entries, None) is None
    if is_ours:
        Inheritance.of_directory(entry.directory).give(directory.descriptor)
        durable.sync_directories([entry.directory], "mailbox.folder")
    elif is_new:
        raise MessageError(f"{entry.name} in the mailbox was exchanged while it was made")
    return directory
