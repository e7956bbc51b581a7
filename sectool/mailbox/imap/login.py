"""Lets a run in: LOGIN, PLAIN (RFC 4616), OAUTHBEARER (RFC 7628), XOAUTH2."""

from __future__ import annotations

import base64

from sectool.errors import LoginRefused, UsageError
from sectool.mailbox.access import Credentials
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.reader import Status

_NO_MASTER = "it lets nobody in for somebody else that way; Dovecot also takes --user alice*master"


def log_in(connection: Connection, credentials: Credentials) -> None:
    """Logs in by the best way that the server offers.

    Raises:
        LoginRefused: it takes none that these credentials are good for, or refuses them.
        ServerUnavailable: it asks to come back later.
    """
    ways = connection.capabilities
    secret = credentials.secret.reveal()
    if "\0" in f"{credentials.user}{credentials.acts_for}{secret}":
        raise UsageError("a name or password holds a NUL", hint="check the file or the command")
    try:
        if credentials.is_token:
            status = _by_token(connection, credentials, secret)
        elif "AUTH=PLAIN" in ways or credentials.acts_for:
            if "AUTH=PLAIN" not in ways:
                raise LoginRefused(f"{connection} does not offer AUTH=PLAIN", hint=_NO_MASTER)
            text = f"{credentials.acts_for}\0{credentials.user}\0{secret}"
            status = _authenticate(connection, "PLAIN", text, b"*")
        elif "LOGINDISABLED" in ways:
            raise LoginRefused(
                f"{connection} takes no password on this connection",
                hint="imaps:// where the server has it, or --token-command",
            )
        else:
            status = connection.ask("LOGIN", credentials.user.encode(), secret.encode())
    except Refused as refused:
        raise _refused(connection, credentials, refused, secret) from None
    connection.look_at_capabilities(status)


def _by_token(connection: Connection, credentials: Credentials, token: str) -> Status:
    user = credentials.acts_for or credentials.user
    if "AUTH=OAUTHBEARER" in connection.capabilities:
        name = user.replace("=", "=3D").replace(",", "=2C")
        text = f"n,a={name},\1auth=Bearer {token}\1\1"
        return _authenticate(connection, "OAUTHBEARER", text, base64.b64encode(b"\1"))
    if "AUTH=XOAUTH2" in connection.capabilities:
        text = f"user={user}\1auth=Bearer {token}\1\1"
        return _authenticate(connection, "XOAUTH2", text, b"")
    raise LoginRefused(
        f"{connection} takes no token", hint="give a password: leave --token-command out"
    )


def _authenticate(connection: Connection, mechanism: str, text: str, last: bytes) -> Status:
    """One way of RFC 9051 section 6.2.2 in which the first answer says everything.

    Args:
        connection: to the server.
        mechanism: its name.
        text: the answer.
        last: what a mechanism says where the server tells why it refuses.
    """
    first = base64.b64encode(text.encode())
    answers = iter((last,))
    if "SASL-IR" in connection.capabilities:
        return connection.converse(f"AUTHENTICATE {mechanism}", first, lambda: next(answers, b"*"))
    answers = iter((first, last))
    return connection.converse(f"AUTHENTICATE {mechanism}", None, lambda: next(answers, b"*"))


def _refused(
    connection: Connection, credentials: Credentials, refused: Refused, secret: str
) -> LoginRefused:
    # A server may repeat what it was told.
    said = refused.status.text
    encoded = base64.b64encode(secret.encode()).decode("ascii")
    is_safe = not any(part and part in said for part in (secret, encoded))
    reason = f": {said}" if said and is_safe else ""
    user = credentials.user
    if credentials.acts_for:
        user = f"{user} for {credentials.acts_for}"
    return LoginRefused(
        f"{connection} does not let {user} in{reason}",
        hint="check --user, --authuser and the password; some servers ask for an app password",
    )
