"""From what a person typed to a mailbox: a path, or a URL with its kind in front."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sectool import durable
from sectool.errors import NoSuchMailbox, SectoolError, UsageError, reason_of
from sectool.mailbox import imap, maildir
from sectool.mailbox.access import Access, Account, Credentials, MailboxSpecification
from sectool.mailbox.base import Mailbox
from sectool.mailbox.maildir.folders import NOTHING_THERE
from sectool.mailbox.maildir.names import printable
from sectool.mailbox.retrying import Retrying
from sectool.message import open_regular_file
from sectool.trust import Trust

STORES: dict[str, Callable[[Access], Mailbox]] = {
    maildir.KIND: lambda access: maildir.Maildir(access.specification),
    **dict.fromkeys(imap.PORTS, lambda access: Retrying(imap.IMAPMailbox(access))),
}
"""What opens a mailbox, by its kind."""

NOT_SUPPORTED = {
    "mbox": "mbox files are",
    "eml": "folders of .eml files are",
}
"""Kinds that a URL may name and this version does not read."""

ENTRIES_LOOKED_AT = 10_000
"""Entries of a directory that are looked at to say what it is instead."""

_COPY_HINT = "copy the mail into a Maildir first, with doveadm sync or mbsync for instance"


def recognise(location: str, user: str = "") -> MailboxSpecification:
    """What ``location`` names.

    Args:
        location: a path, ``maildir:`` and a path, or the URL of an account.
        user: whose account, where the URL does not say it.

    Raises:
        NoSuchMailbox: nothing is there, or nothing that this version reads.
        UsageError: a URL that holds a password, or contradicts ``user``.
    """
    kind, colon, rest = location.partition(":")
    if colon and kind.lower() in NOT_SUPPORTED:
        raise NoSuchMailbox(
            f"{NOT_SUPPORTED[kind.lower()]} not supported by this version", hint=_COPY_HINT
        )
    if colon and kind.lower() in imap.PORTS:
        return imap.recognise_url(location, user)
    if not colon or kind.lower() not in STORES:
        return _recognise_path(location)
    if kind.lower() != maildir.KIND:
        return MailboxSpecification(kind.lower(), rest)
    return _recognise_path(rest)


def is_account(specification: MailboxSpecification) -> str | None:
    """Whose account it is; None: it is none on a server."""
    return imap.account_of(specification)[0] if specification.kind in imap.PORTS else None


def open_mailbox(
    specification: MailboxSpecification,
    credentials: Credentials | None = None,
    account: Account | None = None,
) -> Mailbox:
    """Opens a mailbox, in any process.

    Args:
        specification: of ``recognise``.
        credentials: where its store asks for some.
        account: how a server is reached, where it is on one.

    Raises:
        NoSuchMailbox: it is not there, or of a kind this version does not know.
        LoginRefused: the store does not take the credentials, or asks for some.
        ServerUnavailable: the store is away.
    """
    opener = STORES.get(specification.kind)
    if opener is None:
        raise NoSuchMailbox(
            f"mailboxes of the kind {specification.kind!r} are not supported by this version",
            hint=_COPY_HINT,
        )
    mailbox = opener(Access(specification, credentials, account=account))
    access = Access(mailbox.specification, credentials, mailbox.capabilities.connections, account)
    mailbox.access = replace(access, opened=mailbox) if access.is_of_run_alone else access
    return mailbox


def _recognise_path(text: str) -> MailboxSpecification:
    path = _resolve(text)
    with durable.explained(f"look at {printable(str(path))}", denied=NoSuchMailbox):
        is_maildir = maildir.is_maildir(path)
    if not is_maildir:
        found, hint = _describe(path)
        raise NoSuchMailbox(f"{printable(str(path))} is not a Maildir: it is {found}", hint=hint)
    return MailboxSpecification(maildir.KIND, str(path))


def _resolve(text: str) -> Path:
    if not text:
        raise NoSuchMailbox("no mailbox was given", hint="name a directory that holds cur and new")
    try:
        text.encode("utf-8")
        way = Trust().walk(Path(text), judges_links_only=True)
    except UsageError as error:
        raise NoSuchMailbox(error.message, hint=error.hint) from error
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise durable.explain(
                error, f"look at {printable(text)}", denied=NoSuchMailbox
            ) from error
        reason = reason_of(error)
        raise NoSuchMailbox(
            f"cannot look at {printable(text)}: {reason}", hint="check the path"
        ) from error
    except ValueError as error:  # a NUL, not UTF-8
        raise NoSuchMailbox(
            f"{text!a} is not a usable path", hint="give the directory another name"
        ) from error
    if way.missing:
        raise NoSuchMailbox(f"there is nothing at {printable(text)}", hint="check the path")
    return way.real


def _is_maildir(path: Path) -> bool:
    """Whether it is one for sure."""
    try:
        return maildir.is_maildir(path)
    except SectoolError:
        return False


# --- what it is instead ----------------------------------------------------------


def _describe(path: Path) -> tuple[str, str]:
    """What a path that is not a Maildir holds, and what to do about it."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            return _describe_file(path)
        if stat.S_ISDIR(status.st_mode):
            return _describe_directory(path)
    except OSError as error:
        return f"not readable ({(error.strerror or '').lower()})", "check the owner and the mode"
    return "no directory", "name a directory that holds cur and new"


def _describe_file(path: Path) -> tuple[str, str]:
    with open_regular_file(path) as stream:
        start = stream.read(5)
    if start == b"From ":
        return "an mbox file, which this version does not read", _COPY_HINT
    return "a file", "name a directory that holds cur and new"


def _describe_directory(path: Path) -> tuple[str, str]:
    with os.scandir(path) as entries:
        names = {entry.name for entry in itertools.islice(entries, ENTRIES_LOOKED_AT)}
    dbox = _describe_dbox(path, names)
    if dbox:
        return f"a mailbox in Dovecot's {dbox} format, which this version does not read", _COPY_HINT
    if "prefs.js" in names:
        return "a Thunderbird profile, which this version does not read", _COPY_HINT
    if ".mh_sequences" in names:
        return "an MH folder, which this version does not read", _COPY_HINT
    if any(name.lower().endswith(".eml") for name in names):
        return "a folder of .eml files, which this version does not read", _COPY_HINT
    return _describe_near_maildir(path, names)


def _describe_near_maildir(path: Path, names: set[str]) -> tuple[str, str]:
    if path.name in {"cur", "new", "tmp"} and _is_maildir(path.parent):
        return "a part of one", f"name {printable(str(path.parent))}"
    if any((path / part).is_symlink() for part in ("cur", "new")):
        return "a directory whose cur or new is a link", "links are not followed; copy the mailbox"
    inside = next((name for name in sorted(names) if _is_maildir(path / name)), None)
    if inside is not None:
        return "a directory that holds one", f"name {printable(str(path / inside))}"
    users = [name for name in sorted(names) if _is_maildir(path / name / "Maildir")]
    if users:
        first = printable(str(path / users[0] / "Maildir"))
        return (
            f"a directory of {len(users)} people's Maildirs",
            f"name one of them, such as {first}",
        )
    if "cur" in names or "new" in names:
        return "a directory without cur or without new", "make the missing directory"
    return "a directory without cur and new", "name the directory that holds them"


def _describe_dbox(path: Path, names: set[str]) -> str:
    """Name of the dbox format a directory is in; empty for none."""
    if "storage" in names and _any_starts_with(path / "storage", ("m.", "dovecot.map.index")):
        return "mdbox"
    if "dbox-Mails" in names or any(name.startswith("u.") for name in names):
        return "dbox"
    if "mailboxes" in names and (path / "mailboxes").is_dir():
        return "mdbox" if "storage" in names else "sdbox"
    if "storage" in path.parts and _any_starts_with(path, ("m.",)):
        return "mdbox"
    return ""


def _any_starts_with(path: Path, prefixes: tuple[str, ...]) -> bool:
    try:
        with os.scandir(path) as entries:
            names = (entry.name for entry in itertools.islice(entries, ENTRIES_LOOKED_AT))
            return any(name.startswith(prefixes) for name in names)
    except OSError:
        return False
