"""Makes a folder in a Maildir, laid out as its neighbours are, for messages that come into it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import MailboxError, MessageError
from sectool.mailbox.maildir.files import MaildirFiles
from sectool.mailbox.maildir.folders import INBOX, MESSAGE_DIRECTORIES, Folder, is_directory

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_MARKER = "maildirfolder"
"""File that tells Maildir++ delivery agents that a directory is a folder, not a mailbox."""


def folder_for(files: MaildirFiles, root: Path, name: str) -> Folder:
    """A folder by name; made, durably, where there is none.

    Raises:
        ValueError: a name that has to be made is not ASCII letters and digits.
        MailboxError: something else lies where the folder would.
        OSError: it cannot be made.
    """
    found = files.folder(name)
    if found is not None:
        return found
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name")
    nested = _is_nested(files, root)
    directory = root / (name if nested else f".{name}")
    if os.path.lexists(directory) and not is_directory(directory):
        raise MailboxError(
            f"{directory.name} in the mailbox is not a folder", hint="rename it or move it away"
        )
    for part in MESSAGE_DIRECTORIES:
        make_part(directory / part)
    if not nested:
        _mark(directory)
    files.folders()
    made = files.folder(name)
    if made is None:
        raise MailboxError(f"the folder {name} was made and is not there")
    return made


def _is_nested(files: MaildirFiles, root: Path) -> bool:
    """Whether folders lie as Dovecot's ``LAYOUT=fs`` has them; Maildir++ where there is none."""
    directories = [
        found.directory
        for found in map(files.folder, files.folders())
        if found is not None and found.name != INBOX
    ]
    below = [directory.relative_to(root).parts[0] for directory in directories]
    return bool(below) and not any(part.startswith(".") for part in below)


def _mark(directory: Path) -> None:
    try:
        with durable.new_file(directory / _MARKER):
            crashpoint("maildir.folder")
    except FileExistsError:
        return
    _as_parent(directory / _MARKER, mode=mode_of_messages(directory))
    durable.sync_directories([directory], "maildir.folder")


def make_part(path: Path) -> None:
    """Makes a missing ``tmp``, ``new`` or ``cur``, with the owner and mode of its folder.

    Copied mailboxes lack those that were empty; one that belongs to another
    user would keep their mail server from delivering. The folder itself is made
    like the mailbox.

    Raises:
        MessageError: a link lies there, which may lead anywhere.
    """
    for directory in (path.parent, path):
        if directory.is_symlink():
            raise MessageError(
                f"{directory.name} in the mailbox is a link", hint="put a directory in its place"
            )
        if not directory.is_dir():
            durable.make_directory(directory)
            _as_parent(directory)


def _as_parent(path: Path, mode: int | None = None) -> None:
    parent = path.parent.lstat()
    os.chown(path, parent.st_uid, parent.st_gid)
    path.chmod(stat.S_IMODE(parent.st_mode) if mode is None else mode)


def mode_of_messages(directory: Path) -> int:
    """What may be read by whom in a folder, as the mode of a file."""
    return 0o600 | (stat.S_IMODE(directory.lstat().st_mode) & 0o066)
