"""From what a person typed to a mailbox: a path, or a URL with its kind in front."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sectool import durable
from sectool.errors import NoSuchMailbox, SectoolError, UsageError, reason_of
from sectool.mailbox import eml, emlx, imap, maildir, mbox
from sectool.mailbox.access import Access, Account, Credentials, MailboxSpecification
from sectool.mailbox.base import Mailbox
from sectool.mailbox.eml.layout import ENTRIES_LOOKED_AT
from sectool.mailbox.files.folders import MESSAGE_DIRECTORIES, NOTHING_THERE
from sectool.mailbox.files.names import printable
from sectool.mailbox.retrying import Retrying
from sectool.message import open_regular_file
from sectool.trust import Trust

STORES: dict[str, Callable[[Access], Mailbox]] = {
    maildir.KIND: lambda access: maildir.Maildir(access.specification),
    mbox.KIND: lambda access: mbox.Mbox(access.specification),
    eml.KIND: lambda access: eml.Eml(access.specification),
    emlx.KIND: lambda access: emlx.Emlx(access.specification),
    **dict.fromkeys(imap.PORTS, lambda access: Retrying(imap.IMAPMailbox(access))),
}
"""What opens a mailbox, by its kind."""


class Recogniser(NamedTuple):
    """What tells that a path leads to a mailbox of a kind."""

    for_sure: Callable[[Path], bool]
    """Whether it does, by what lies there."""
    if_said: Callable[[Path], bool]
    """Whether it may, where a person says so."""


RECOGNISED: dict[str, Recogniser] = {
    maildir.KIND: Recogniser(maildir.recognises, maildir.may_be),
    mbox.KIND: Recogniser(mbox.recognises, mbox.may_be),
    eml.KIND: Recogniser(eml.recognises, eml.may_be),
    emlx.KIND: Recogniser(emlx.recognises, emlx.may_be),
}
"""The kinds that are recognised by what lies at a path."""

_COPY_HINT = "copy the mail into a Maildir first, with doveadm sync or mbsync for instance"
_NAME_HINT = "name the directory that holds cur and new, one of .eml files, or an mbox file"
_MSG_HINT = "make .eml files of them: msgconvert FILE.msg (Debian: libemail-outlook-message-perl)"
_PST_HINT = "make .eml files of it: readpst -e -o DIRECTORY FILE.pst (Debian: pst-utils)"

NOT_SUPPORTED = {
    "msg": ("messages of Outlook are", _MSG_HINT),
    "pst": ("stores of Outlook are", _PST_HINT),
}
"""Kinds that a URL may name and this version does not read, and what to do instead."""


def recognise(location: str, user: str = "") -> MailboxSpecification:
    """What ``location`` names.

    Args:
        location: a path, ``maildir:``, ``mbox:``, ``eml:`` or ``emlx:`` and a path, or the URL of
            an account.
        user: whose account, where the URL does not say it.

    Raises:
        NoSuchMailbox: nothing is there, nothing that this version reads, or what could be two
            kinds of mailbox.
        UsageError: a URL that holds a password, or contradicts ``user``.
    """
    kind, colon, rest = location.partition(":")
    kind = kind.lower()
    if colon and kind in NOT_SUPPORTED:
        what, hint = NOT_SUPPORTED[kind]
        raise NoSuchMailbox(f"{what} not supported by this version", hint=hint)
    if colon and kind in imap.PORTS:
        return imap.recognise_url(location, user)
    if not colon or kind not in STORES:
        return _recognise_path(location)
    if kind not in RECOGNISED:
        return MailboxSpecification(kind, rest)
    return _recognise_said(kind, rest)


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


def _recognise_said(kind: str, text: str) -> MailboxSpecification:
    """A path whose kind was said."""
    path = _resolve(text)
    if _is_part_of_maildir(path) or not _asked(path, RECOGNISED[kind].if_said):
        raise _not_a_mailbox(path, f"is no mailbox of the kind {kind}: it is")
    return MailboxSpecification(kind, str(path))


def _recognise_path(text: str) -> MailboxSpecification:
    path = _resolve(text)
    kinds = [] if _is_part_of_maildir(path) else _kinds_at(path)
    if not kinds:
        raise _not_a_mailbox(path, "is no mailbox: it is")
    if len(kinds) > 1:
        shown = printable(str(path))
        raise NoSuchMailbox(
            f"{shown} could be a mailbox of {len(kinds)} kinds: {' and '.join(kinds)}",
            hint="say which: " + " or ".join(f"{kind}:{shown}" for kind in kinds),
        )
    return MailboxSpecification(kinds[0], str(path))


def _kinds_at(path: Path) -> list[str]:
    """Kinds of mailbox that a path leads to.

    Where one is sure, what keeps others from being told counts for nothing.
    """
    found, first = [], None
    for kind, recogniser in RECOGNISED.items():
        try:
            if _asked(path, recogniser.for_sure):
                found.append(kind)
        except SectoolError as error:
            first = first or error
    if first is not None and not found:
        raise first
    if found and maildir.KIND not in found and _asked(path, maildir.may_be):
        found.insert(0, maildir.KIND)  # such as a home with a Maildir and a message saved elsewhere
    return found


def _asked(path: Path, recognises: Callable[[Path], bool]) -> bool:
    with durable.explained(f"look at {printable(str(path))}", denied=NoSuchMailbox):
        return recognises(path)


def _is_part_of_maildir(path: Path) -> bool:
    """Whether it is where the messages of one of its folders lie."""
    return path.name in MESSAGE_DIRECTORIES and _is_maildir(path.parent)


def _not_a_mailbox(path: Path, is_not: str) -> NoSuchMailbox:
    found, hint = _describe(path)
    kinds = _kinds_at(path)
    if kinds and not _is_part_of_maildir(path):
        found, hint = f"one of the kind {kinds[0]}", f"name {kinds[0]}:{printable(str(path))}"
    return NoSuchMailbox(f"{printable(str(path))} {is_not} {found}", hint=hint)


def _resolve(text: str) -> Path:
    if not text:
        raise NoSuchMailbox("no mailbox was given", hint=_NAME_HINT)
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
        return maildir.recognises(path)
    except (SectoolError, OSError):
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
    return "no directory", _NAME_HINT


def _describe_file(path: Path) -> tuple[str, str]:
    with open_regular_file(path) as stream:
        start = stream.read(5)
    if start == b"From ":
        return "a file that begins with `From ` and is no mbox", _NAME_HINT
    if path.suffix.lower() in {".eml", ".emlx"}:
        return "one message", f"name the directory it lies in: {printable(str(path.parent))}"
    return _describe_outlook({path.name}) or ("a file", _NAME_HINT)


def _describe_outlook(names: set[str]) -> tuple[str, str] | None:
    if any(name.lower().endswith(".msg") for name in names):
        return "a message of Outlook (.msg), or holds some", _MSG_HINT
    if any(name.lower().endswith(".pst") for name in names):
        return "a store of Outlook (.pst), or holds one", _PST_HINT
    return None


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
    return _describe_outlook(names) or _describe_near_maildir(path, names)


def _describe_near_maildir(path: Path, names: set[str]) -> tuple[str, str]:
    if _is_part_of_maildir(path):
        return "a part of one", f"name {printable(str(path.parent))}"
    if any((path / part).is_symlink() for part in ("cur", "new")):
        return "a directory whose cur or new is a link", "links are not followed; copy the mailbox"
    inside = [name for name in sorted(names) if _is_maildir(path / name)]
    if inside:
        found = "a directory that holds " + ("one Maildir" if len(inside) == 1 else "Maildirs")
        hint = f"name {printable(str(path / inside[0]))}"
        if maildir.may_be(path):
            hint += f", or maildir:{printable(str(path))} if all in it is one person's mailbox"
        return found, hint
    users = [name for name in sorted(names) if _is_maildir(path / name / "Maildir")]
    if users:
        first = printable(str(path / users[0] / "Maildir"))
        return (
            f"a directory of {len(users)} people's Maildirs",
            f"name one of them, such as {first}",
        )
    if "cur" in names or "new" in names:
        return "a directory without cur or without new", "make the missing directory"
    return "a directory without cur and new, and without .eml files", _NAME_HINT


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
