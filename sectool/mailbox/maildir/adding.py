"""Makes a folder in a Maildir, laid out as its neighbours are, for messages that come into it."""

from __future__ import annotations

import os
import re

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory, DirectoryEntry
from sectool.errors import MailboxError, MessageError
from sectool.mailbox.maildir.files import MaildirFiles
from sectool.mailbox.maildir.folders import INBOX, MESSAGE_DIRECTORIES
from sectool.mailbox.maildir.inheriting import Inheritance

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_MARKER = "maildirfolder"
"""File that tells Maildir++ delivery agents that a directory is a folder, not a mailbox."""


def directory_for(files: MaildirFiles, name: str) -> Directory:
    """The directory of a folder by name; made, durably, where there is none.

    Raises:
        ValueError: a name that has to be made is not ASCII letters and digits.
        MailboxError: something else lies where the folder would.
        OSError: it cannot be made.
    """
    if files.folder(name) is not None:
        try:
            return files.directory(name)
        except FileNotFoundError:
            pass  # it was removed since it was found
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name")
    nested = _is_nested(files)
    entry = files.root / (name if nested else f".{name}")
    try:
        directory = ensure_directory(entry)
    except MessageError as error:
        raise MailboxError(
            f"{entry.name} in the mailbox is not a folder", hint="rename it or move it away"
        ) from error
    for part in MESSAGE_DIRECTORIES:
        ensure_directory(directory / part)
    if not nested:
        _mark(directory)
    files.folders()
    return files.directory(name)


def directory_to_write(files: MaildirFiles, folder: str, part: str) -> Directory:
    """A directory of a folder, made where it is missing, in which to write.

    Raises:
        MessageError: it is not of the owner of the mailbox, and root writes to no other.
        OSError: it cannot be made.
    """
    try:
        return files.writable_directory(folder, part)
    except (OSError, MessageError):
        # It is missing, or a killed run made it and gave it to nobody; else this says what it is.
        ensure_directory(files.directory(folder) / part)
        return files.writable_directory(folder, part)


def _is_nested(files: MaildirFiles) -> bool:
    """Whether folders lie as Dovecot's ``LAYOUT=fs`` has them; Maildir++ where there is none."""
    folders = [files.folder(name) for name in files.folders() if name != INBOX]
    below = [folder.components[0] for folder in folders if folder is not None]
    return bool(below) and not any(name.startswith(".") for name in below)


def _mark(directory: Directory) -> None:
    try:
        with durable.new_file(directory / _MARKER) as stream:
            crashpoint("maildir.folder")
            Inheritance.in_folder(directory).give(stream.fileno())
    except FileExistsError:
        return
    durable.sync_directories([directory], "maildir.folder")


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
        crashpoint("maildir.made")
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
        durable.sync_directories([entry.directory], "maildir.folder")
    elif is_new:
        raise MessageError(f"{entry.name} in the mailbox was exchanged while it was made")
    return directory
