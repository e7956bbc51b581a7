"""Where the folders of a Maildir lie, in each layout that programs give it.

*Maildir++* (Courier, Dovecot): a directory ``.A.B`` beside the ``cur`` of the inbox. *Nested*
(Dovecot's ``LAYOUT=fs``, mbsync's ``SubFolders Verbatim``): a directory in a directory; the
inbox is the root, or a directory ``INBOX`` in it. *Legacy* (mbsync): ``.B`` in the directory of
A. *KMail*: ``B`` in ``.A.directory``, which lies beside A. *Thunderbird*: ``B`` in ``A.sbd``, and
no ``new`` anywhere. One mailbox may have several of them, so each directory is taken for what it
is, and none in which mail lies is passed over.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from sectool.directories import Directory
from sectool.mailbox.files.folders import (
    INBOX,
    MESSAGE_DIRECTORIES,
    Folder,
    FolderFinder,
    Names,
    Skipped,
    cannot_list,
    identity,
    is_directory,
    is_maildir,
    is_there,
    mode_of,
    unique_folder,
)
from sectool.mailbox.files.names import printable, safe_level
from sectool.mailbox.maildir.names import decode_level
from sectool.values import dataclass

_KMAIL = ".directory"
_THUNDERBIRD = ".sbd"


def find_folders(root: Directory) -> tuple[list[Folder], list[Skipped]]:
    """All folders of a Maildir, ``INBOX`` first, then by directory name.

    Raises:
        MailboxError: a directory cannot be listed; mail in it would be passed over.
    """
    finder = _Finder()
    found = list(finder.find(root))
    inbox = _inbox_of(found)
    taken = set[str]()
    folders = []
    for place in sorted(found, key=lambda place: place is not inbox):
        levels = [INBOX, *place.levels[1:]] if place.is_below(inbox) else place.levels
        name = unique_folder("/".join(levels) or INBOX, ("", *place.names)[-1], taken)
        folders.append(Folder(name, place.names, place.identity))
    return folders, finder.skipped


def holds_mail(directory: Directory) -> bool:
    """Whether it is a folder: it has a ``cur`` or a ``new``.

    Raises:
        OSError: it cannot be told.
    """
    return any(is_directory(directory / part) for part in ("cur", "new"))


def has_new(root: Directory) -> bool:
    """Whether any folder has a ``new``, as all have that Thunderbird did not make.

    Raises:
        MailboxError: a directory cannot be listed.
        OSError: it cannot be told.
    """
    if is_maildir(root):
        return is_directory(root / "new")
    return any(is_directory(child / "new") for _, child in _Finder().all_directories(root, ()))


def folders_in(root: Directory) -> list[str]:
    """Names of the directories in a root that are folders.

    Raises:
        MailboxError: they cannot be listed.
        OSError: it cannot be told.
    """
    return [names[-1] for names, child in _Finder().directories(root, ()) if is_maildir(child)]


def is_inbox_name(name: str) -> bool:
    """Whether a directory in the root is the inbox (RFC 9051 section 5.1: in any case)."""
    return name.upper() == INBOX


def is_of_one_mailbox(root: Directory, folders: Sequence[str]) -> bool:
    """Whether folders in a root that is none are those of one person without a doubt.

    They could as well be mailboxes, each of another person.

    Args:
        root: in which they lie.
        folders: of ``folders_in``.

    Raises:
        OSError: it cannot be told.
    """
    if not folders:
        return False
    marks = {
        *("subscriptions", "dovecot.mailbox.log"),
        *(f".{name}{_KMAIL}" for name in folders),
        *(f"{name}{_THUNDERBIRD}" for name in folders),
        *(f"{name}.msf" for name in folders),
    }
    return any(map(is_inbox_name, folders)) or any(is_there(root / mark) for mark in marks)


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory in which mail lies."""

    names: Names
    levels: tuple[str, ...]
    """Of the folder's name; none of the root."""
    identity: tuple[int, int]

    def is_below(self, inbox: _Place | None) -> bool:
        """Whether it is the inbox, or a folder in it."""
        return inbox is not None and bool(inbox.names) and self.levels[:1] == inbox.levels


def _inbox_of(found: list[_Place]) -> _Place | None:
    """The root, else ``INBOX`` in it, else another way to write that."""
    top = [place for place in found if len(place.names) < 2 and _may_be_inbox(place)]
    return min(top, key=lambda place: (len(place.names), place.names != (INBOX,)), default=None)


def _may_be_inbox(place: _Place) -> bool:
    return not place.names or is_inbox_name(place.names[0])


class _Finder(FolderFinder):
    def all_directories(
        self, directory: Directory, names: Names
    ) -> Iterator[tuple[Names, Directory]]:
        """Those that may be folders, at any depth."""
        for below, child in self.directories(directory, names):
            yield below, child
            yield from self.all_directories(child, below)

    def may_be_folder(self, name: str) -> bool:
        return name not in MESSAGE_DIRECTORIES

    def find(
        self, directory: Directory, names: Names = (), levels: tuple[str, ...] = ()
    ) -> Iterator[_Place]:
        """The folder that a directory is, and those below it."""
        is_folder = self._holds_mail(directory, names)
        if is_folder:
            yield _Place(names, levels, identity(directory))
        has_dots = is_folder and (not names or (len(names) == 1 and is_inbox_name(names[0])))
        for below, child in self.directories(directory, names):
            further = self._levels(below, child, is_maildir_plus=has_dots)
            yield from self.find(child, below, (*levels, *further))

    def _levels(self, names: Names, child: Directory, *, is_maildir_plus: bool) -> list[str]:
        """What a directory adds to the names of the folders in it."""
        raw = names[-1]
        if not raw.startswith("."):
            if raw.endswith(_THUNDERBIRD) and not self._holds_mail(child, names):
                raw = raw.removesuffix(_THUNDERBIRD) or raw
            return [_level(raw)]
        if is_kmail_directory(raw) and not self._holds_mail(child, names):
            return [_level(raw[1:].removesuffix(_KMAIL))]
        return _maildir_plus_levels(raw[1:]) if is_maildir_plus else [_level(raw[1:])]

    def _holds_mail(self, directory: Directory, names: Names) -> bool:
        try:
            modes = {part: mode_of(directory / part) for part in ("cur", "new")}
        except OSError as error:
            raise cannot_list(printable(str(directory.path)), error) from error
        for part, mode in modes.items():
            if stat.S_ISLNK(mode):
                self.skip((*names, part), "a link to a directory is not followed")
        return any(map(stat.S_ISDIR, modes.values()))


def is_kmail_directory(name: str) -> bool:
    """Whether KMail may keep the folders below another one in a directory of this name."""
    return name.startswith(".") and name.endswith(_KMAIL) and len(name) > len(_KMAIL) + 1


def _maildir_plus_levels(raw: str) -> list[str]:
    decoded = [decode_level(level) for level in raw.split(".")]
    levels = [level for level in decoded if level is not None]
    return levels if len(levels) == len(decoded) else [safe_level(raw)]


def _level(raw: str) -> str:
    decoded = decode_level(raw)
    return safe_level(raw) if decoded is None else decoded
