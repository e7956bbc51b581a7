"""What is a message and what is a folder in a tree of files, each one message.

Every directory is a folder, by its own name; what is named as a message and is no file, and what
other programs keep mail in, is passed over and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from sectool.directories import Directory
from sectool.mailbox.files.folders import (
    INBOX,
    MESSAGE_DIRECTORIES,
    NOTHING_THERE,
    Folder,
    FolderFinder,
    Names,
    Skipped,
    cannot_list,
    identity,
    is_maildir,
    unique_folder,
)
from sectool.mailbox.files.names import printable, safe_level
from sectool.mailbox.files.store import open_root
from sectool.mailbox.files.view import FolderView, WhyNot

SUFFIX = ".eml"

ENTRIES_LOOKED_AT = 10_000
"""Entries of a tree that are looked at to say what it is."""

_OTHERS = {
    ".eml": "a message in a file of its own is not read here; name a directory of these alone",
    ".emlx": "a message of Apple Mail is not read here; name a directory of these alone",
    ".mbox": "an mbox is not read here; name it alone",
    ".msg": "a message of Outlook is not read; msgconvert makes an .eml file of it",
    ".pst": "a store of Outlook is not read; readpst makes .eml files of it",
}
"""What else mail may lie in, by the end of its name, and what is said of it."""


class EmlView(FolderView):
    """The files in a directory that have the suffix, in any case."""

    parts = ("",)
    suffix = SUFFIX

    def why_no_message(self, name: str) -> WhyNot | None:
        lower = name.lower()
        if lower.endswith(self.suffix) and not name.startswith("."):
            return None
        if name.startswith("._"):  # what macOS keeps beside a file
            return WhyNot("")
        if lower.endswith(self.suffix):
            return WhyNot("names with a leading dot are no messages")
        reasons = (reason for end, reason in _OTHERS.items() if lower.endswith(end))
        return WhyNot(next(reasons, ""))


def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
    """All directories of a tree, the root first, as ``INBOX``.

    Raises:
        MailboxError: a directory cannot be listed; mail in it would be passed over.
    """
    finder = _Finder()
    taken = set[str]()
    folders = []
    for names, directory in finder.tree(root, ()):
        name = unique_folder("/".join(map(safe_level, names)) or INBOX, ("", *names)[-1], taken)
        folders.append(Folder(name, names, identity(directory)))
    return folders, finder.skipped


def lies_below(suffix: str, path: Path, *, soon: bool = False) -> bool:
    """Whether a file with a suffix, in any case, lies in a tree.

    Args:
        suffix: of the name of a message.
        path: of the tree.
        soon: whether just ``ENTRIES_LOOKED_AT`` names are looked at.

    Raises:
        UnsafeDirectory: somebody else could have made a link on the way.
        MailboxError: a directory cannot be listed.
        OSError: it cannot be told.
    """
    root = open_root(path)
    if root is None:
        return False
    names = chain.from_iterable(map(_files, _Finder().tree(root, ())))
    return any(
        name.lower().endswith(suffix) and not name.startswith(".")
        for name in islice(names, ENTRIES_LOOKED_AT if soon else None)
    )


def _files(place: tuple[Names, Directory]) -> Iterator[str]:
    """Names in a directory; empty ones of what is no file."""
    _, directory = place
    try:
        with directory.scan() as entries:
            for entry in entries:
                yield entry.name if entry.is_file(follow_symlinks=False) else ""
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise cannot_list(printable(str(directory.path)), error) from error


class _Finder(FolderFinder):
    def may_be_folder(self, name: str) -> bool:
        return not name.lower().endswith((SUFFIX, ".emlx"))  # the view tells of it

    def tree(self, directory: Directory, names: Names) -> Iterator[tuple[Names, Directory]]:
        """A directory and all those below it."""
        yield names, directory
        holds_maildir = is_maildir(directory)
        if holds_maildir:
            self.skip((*names, "cur"), "a Maildir is not read here; name it alone")
        for below, child in self.directories(directory, names):
            if not (holds_maildir and below[-1] in MESSAGE_DIRECTORIES):
                yield from self.tree(child, below)
