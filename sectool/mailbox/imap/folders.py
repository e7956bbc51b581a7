"""The folders of an account: which are the person's own, and what the engine calls them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace

from sectool.mailbox.imap import utf7
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.reader import BadAnswer, Data, Numbers, Status, Value
from sectool.values import dataclass

MOST_FOLDERS = 500_000

INBOX = "INBOX"
_SHOW_OTHERS_MAIL = frozenset({"\\ALL", "\\FLAGGED", "\\IMPORTANT"})
"""Uses of folders that show mail of other folders once more (RFC 6154, RFC 8457)."""
_NO_MAIL = frozenset({"\\NOSELECT", "\\NONEXISTENT"})
_SLASH = "&AC8-"
"""Stands for a slash in a name whose levels are told apart by something else."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that may hold mail."""

    name: str
    """With ``/`` between levels."""
    wire: bytes
    """As the server calls it."""
    repeats: bool = False
    """It shows mail of other folders once more."""


@dataclass(slots=True)
class Folders:
    """The folders of an account, by name."""

    own: dict[str, Folder] = field(default_factory=dict)
    """Those whose mail is read, ``INBOX`` first."""
    left: dict[str, str] = field(default_factory=dict)
    """Those whose mail is not read, with the reason."""
    prefix: bytes = b""
    """Of the names of the person's own, as the server calls them."""


def list_folders(connection: Connection, skip: Sequence[str]) -> Folders:
    """All folders that the server shows, whether somebody subscribed to them or not.

    Args:
        connection: logged in.
        skip: shell patterns of names that are left.

    Raises:
        ServerUnavailable: the connection is lost.
    """
    own, shared = _namespaces(connection)
    listed = dict[bytes, Folder]()
    for pattern in (INBOX.encode(), *(prefix + b"*" for prefix in own)):
        listed.update((folder.wire, folder) for folder in _list(connection, pattern))
    folders = Folders(prefix=own[0])
    for folder in _named_apart(listed.values()):
        if any(folder.wire.startswith(prefix) for prefix in shared):
            folders.left[folder.name] = "it is another person's, or everybody's"
        elif any(fnmatch.fnmatchcase(folder.name, pattern) for pattern in skip):
            folders.left[folder.name] = "--skip-folder names it"
        else:
            folders.own[folder.name] = folder
    for prefix in shared:
        for folder in _list(connection, prefix + b"*"):
            folders.left.setdefault(folder.name, "it is another person's, or everybody's")
    return folders


TO_READ = frozenset("lr")
TO_WRITE = frozenset("lritews")
"""Rights of RFC 4314 that the mail of a folder is read with, and replaced."""


def rights_on(connection: Connection, folder: Folder) -> frozenset[str]:
    """The rights that whoever logged in has on a folder."""
    rights: list[str] = []

    def take(response: Data | Numbers | Status) -> None:
        if isinstance(response, Data) and response.name == "MYRIGHTS":
            rights.extend(_text(value).decode("latin-1") for value in response.values[1:])

    try:
        connection.ask("MYRIGHTS", folder.wire, take=take)
    except Refused:
        return frozenset()
    told = frozenset("".join(rights))
    # Once there was one right for both (RFC 2086).
    return told | {"t", "e"} if "d" in told else told


def _namespaces(connection: Connection) -> tuple[list[bytes], list[bytes]]:
    """Prefixes of the person's own folders, and of those of others (RFC 2342)."""
    found: list[list[bytes]] = []

    def take(response: Data | Numbers | Status) -> None:
        if isinstance(response, Data) and response.name == "NAMESPACE":
            found[:] = [list(_prefixes(value)) for value in response.values[:3]]

    if "NAMESPACE" in connection.capabilities:
        connection.ask("NAMESPACE", take=take)
    own, *others = found or [[b""]]
    return own or [b""], [prefix for some in others for prefix in some if prefix]


def _prefixes(value: Value) -> Iterator[bytes]:
    for namespace in value if isinstance(value, list) else ():
        if isinstance(namespace, list) and namespace:
            yield _text(namespace[0])


def _list(connection: Connection, pattern: bytes) -> list[Folder]:
    found: list[Folder] = []

    def take(response: Data | Numbers | Status) -> None:
        if not isinstance(response, Data) or response.name != "LIST" or len(response.values) < 3:
            return
        attributes, delimiter, name = response.values[:3]
        told = attributes if isinstance(attributes, list) else []
        uses = {one.upper() for one in told if isinstance(one, str)}
        wire = b"NIL" if name is None else _text(name)
        if not uses & _NO_MAIL:
            levels = b"" if delimiter is None else _text(delimiter)
            repeats = bool(uses & _SHOW_OTHERS_MAIL)
            found.append(Folder(name_of(wire, levels), wire, repeats))
        if len(found) > MOST_FOLDERS:
            raise BadAnswer("the server lists too many folders")

    if {"SPECIAL-USE", "LIST-EXTENDED"} <= connection.capabilities:
        connection.ask("LIST", b"", pattern, "RETURN (SPECIAL-USE)", take=take)
    else:
        connection.ask("LIST", b"", pattern, take=take)
    return found


def name_of(wire: bytes, delimiter: bytes) -> str:
    """What to call a folder; never taken for a path.

    Args:
        wire: its name as the server has it.
        delimiter: one character between levels; empty where there are none.
    """
    try:
        name = utf7.decode(wire)
    except ValueError:
        name = wire.decode("ascii", "backslashreplace")
    if not name.isprintable():
        name = wire.decode("ascii", "backslashreplace")
        name = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in name)
    if delimiter != b"/":
        name = name.replace("/", _SLASH)
        if delimiter:
            name = name.replace(delimiter.decode("latin-1"), "/")
    first, slash, rest = name.partition("/")
    return f"{INBOX}{slash}{rest}" if first.upper() == INBOX else name


def _named_apart(folders: Iterable[Folder]) -> Iterator[Folder]:
    """The same, in the order in which they are read, no two of one name."""
    taken: set[str] = set()
    for folder in sorted(folders, key=lambda one: (one.repeats, one.name != INBOX, one.wire)):
        name = folder.name
        while name in taken:
            name += " (another)"
        taken.add(name)
        yield replace(folder, name=name)


def _text(value: Value) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    return value if isinstance(value, bytes) else b""
