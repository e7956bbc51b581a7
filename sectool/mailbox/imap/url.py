"""From ``imaps://user@host:port/`` to an account (RFC 5092, as far as that names one)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote, urlsplit

from sectool.errors import NoSuchMailbox, UsageError
from sectool.mailbox.access import MailboxSpecification

PORTS = {"imap": 143, "imaps": 993}
"""The kinds of URL, and where such servers listen."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


def recognise_url(text: str, user: str = "") -> MailboxSpecification:
    """The account that a URL names, in one form for all that mean the same.

    Args:
        text: the URL.
        user: whose account, where the URL does not say it.

    Raises:
        NoSuchMailbox: it names no account.
        UsageError: it holds a password, or contradicts ``user``.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _no_account(f"{_without_password(text)} is no usable URL") from error
    kind = parts.scheme.lower()
    if parts.password is not None:
        raise UsageError(
            f"the URL of {parts.hostname} holds a password, which everybody here can see now",
            hint="change it; give it with --password-file or --password-command",
        )
    if not text[len(kind) :].startswith("://") or not parts.hostname:
        raise _no_account(f"{text!a} names no server")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _no_account(f"{text!a} names more than an account", "--folder names a folder")
    host = _host(parts.hostname)
    named = unquote(parts.username or "")
    if named and user and named != user:
        raise UsageError(
            f"the URL is of {named!a}, and --user says {user!a}", hint="leave out one of the two"
        )
    whose = (named or user).partition("*")[0]
    if not whose or not whose.isprintable():
        raise UsageError(
            f"nothing says whose account at {host} it is",
            hint=f"name it: {kind}://alice@{host}/, or --user alice",
        )
    at = f"{host}:{PORTS[kind] if port is None else port}"
    return MailboxSpecification(kind, f"//{quote(whose, safe='')}@{at}/")


def account_of(specification: MailboxSpecification) -> tuple[str, str, int]:
    """User, host and port of what ``recognise_url`` answered."""
    parts = urlsplit(specification.url)
    return unquote(parts.username or ""), parts.hostname or "", parts.port or 0


def _host(name: str) -> str:
    if ":" in name:
        try:
            return f"[{ipaddress.IPv6Address(name)}]"
        except ValueError as error:
            raise _no_account(f"{name!a} is no address") from error
    if not _HOST.fullmatch(name):
        raise _no_account(f"{name!a} is no name of a server")
    return name.lower().rstrip(".")


def _without_password(text: str) -> str:
    return ascii(re.sub(r"//.*@", "//…@", text))


def _no_account(
    what: str, hint: str = "imaps://alice@imap.example.org/ names one"
) -> NoSuchMailbox:
    return NoSuchMailbox(what, hint=hint)
