"""What is known of servers: how each is recognised, what it may do, and what that is proven on."""

from __future__ import annotations

import contextlib

from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.reader import Data, Numbers, Status
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of server."""

    name: str
    proven_on: str
    """For a person."""
    capability: str = ""
    """That no other kind has."""
    product: str = ""
    """In lower case, the beginning of the name that it gives itself (RFC 2971)."""
    is_written: bool = True
    keeps_flags: bool = False
    """It gives a new copy all flags that it takes, so that nobody has to look."""
    forgets: frozenset[str] = frozenset()
    """System flags that a new copy may lack although they were sent with it."""
    hides: str = ""
    """Where it may keep removed mail that IMAP does not show."""
    substitute: bytes = b""
    """How the subject of a text begins that it gives in place of what it cannot convert."""


GENERIC = Profile("generic", "nothing: it is for servers that are not known")
PROFILES = (
    Profile("dovecot", "Dovecot 2.3", product="dovecot", keeps_flags=True),
    Profile("cyrus", "Cyrus 3.6", product="cyrus", keeps_flags=True),
    Profile(
        "exchange",
        "a server of the tests that answers as Exchange is said to, never a real one",
        product="microsoft.exchange",
        forgets=frozenset({"flagged"}),
        hides="archive, recoverable items and holds are not visible to IMAP",
        substitute=b"Retrieval using the IMAP4 protocol failed for the following message",
    ),
    Profile(
        "gmail",
        "a server of the tests with its capability; it is read, and never written",
        capability="X-GM-EXT-1",
        is_written=False,
    ),
    GENERIC,
)


def recognised(connection: Connection) -> Profile:
    """The kind of a server.

    Args:
        connection: logged in.

    Raises:
        ServerUnavailable: the connection is lost.
    """
    for profile in PROFILES:
        if profile.capability and profile.capability in connection.capabilities:
            return profile
    product = _product(connection) if "ID" in connection.capabilities else ""
    for profile in PROFILES:
        if profile.product and product.startswith(profile.product):
            return profile
    return GENERIC


def _product(connection: Connection) -> str:
    """The name that a server gives itself, in lower case; empty: it tells none."""
    told: dict[str, str] = {}

    def take(response: Data | Numbers | Status) -> None:
        if isinstance(response, Data) and response.name == "ID" and response.values:
            fields = response.values[0] if isinstance(response.values[0], list) else []
            words = [one.decode("latin-1") if isinstance(one, bytes) else "" for one in fields]
            told.update(zip((word.lower() for word in words[::2]), words[1::2], strict=False))

    with contextlib.suppress(Refused):
        connection.ask("ID", "NIL", take=take)
    return told.get("name", "").lower()
