"""Makes a folder in a Maildir, laid out as its neighbours are, for messages that come into it."""

from __future__ import annotations

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.directories import Directory
from sectool.errors import MessageError
from sectool.mailbox.files.adding import ensure_directory, known_directory, make_folder
from sectool.mailbox.files.folders import MESSAGE_DIRECTORIES
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.files.message_files import MessageFiles
from sectool.mailbox.maildir.layout import holds_mail, is_kmail_directory

_MARKER = "maildirfolder"
"""File that tells Maildir++ delivery agents that a directory is a folder, not a mailbox."""


def directory_for(files: MessageFiles, name: str) -> Directory:
    """The directory of a folder by name; made, durably, where there is none.

    Raises:
        ValueError: a name that has to be made is not ASCII letters and digits.
        MailboxError: something else lies where the folder would.
        OSError: it cannot be made.
    """
    known = known_directory(files, name)
    if known is not None:
        return known
    is_nested = _is_nested(files)
    directory = make_folder(files.root / (name if is_nested else f".{name}"))
    for part in MESSAGE_DIRECTORIES:
        ensure_directory(directory / part)
    if not is_nested:
        _mark(directory)
    files.folders()
    return files.directory(name)


def directory_to_write(files: MessageFiles, folder: str, part: str) -> Directory:
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


def _is_nested(files: MessageFiles) -> bool:
    """Whether folders are directories of their own names; Maildir++ where there is none."""
    if not holds_mail(files.root):
        return True
    folders = [files.folder(name) for name in files.folders()]
    top = [folder.components[0] for folder in folders if folder is not None and folder.components]
    return bool(top) and all(name[0] != "." or is_kmail_directory(name) for name in top)


def _mark(directory: Directory) -> None:
    try:
        with durable.new_file(directory / _MARKER) as stream:
            crashpoint("mailbox.folder")
            Inheritance.in_folder(directory).give(stream.fileno())
    except FileExistsError:
        return
    durable.sync_directories([directory], "mailbox.folder")
