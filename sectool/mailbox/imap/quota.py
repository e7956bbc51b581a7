"""How much more a server lets an account hold (RFC 9208, and RFC 7889 for one message)."""

from __future__ import annotations

import contextlib
import re

from sectool.errors import MessageError, NoSpace
from sectool.mailbox.imap.connection import Connection, Refused
from sectool.mailbox.imap.reader import Data, Numbers, Status
from sectool.values import dataclass

_KIBIBYTE = 1024
_UNITS = {"STORAGE": _KIBIBYTE, "MESSAGE": 1}
_LIMIT = re.compile(r"APPENDLIMIT=(\d{1,19})")


@dataclass(slots=True)
class Room:
    """What a folder takes; None: nobody knows."""

    size: int | None = None
    """Bytes."""
    messages: int | None = None

    def take(self, response: Data | Numbers | Status) -> None:
        """Given each untagged response; of several quotas the narrowest counts."""
        if not isinstance(response, Data) or response.name != "QUOTA":
            return
        told = response.values[-1] if response.values else None
        words = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
        for name, used, limit in zip(words[::3], words[1::3], words[2::3], strict=False):
            unit = _UNITS.get(name.upper())
            if unit is None or not (used.isdigit() and limit.isdigit()):
                continue
            left = max(int(limit) - int(used), 0) * unit
            if unit == 1:
                self.messages = left if self.messages is None else min(left, self.messages)
            else:
                self.size = left if self.size is None else min(left, self.size)


def require_room(connection: Connection, name: str, wire: bytes, sizes: list[int]) -> None:
    """Holds that a folder takes further messages beside those that they will replace.

    Args:
        connection: to the server.
        name: of the folder.
        wire: its name there.
        sizes: bytes of each message.

    Raises:
        NoSpace: a quota does not let them in.
    """
    if "QUOTA" not in connection.capabilities:
        return
    room = Room()
    with contextlib.suppress(Refused):
        connection.ask("GETQUOTAROOT", wire, take=room.take)
    needed = sum(sizes)
    if room.size is not None and needed > room.size:
        what = f"{needed} bytes, and the quota leaves {room.size}"
    elif room.messages is not None and len(sizes) > room.messages:
        what = f"{len(sizes)} further messages, and the quota leaves {room.messages}"
    else:
        return
    raise NoSpace(
        f"for a while new copies lie beside the old ones: in the folder {name} these are {what}",
        hint="let mail be removed, or the quota be raised; the same command goes on",
    )


def require_size(connection: Connection, size: int) -> None:
    """Holds that the server takes one message of this size.

    Raises:
        MessageError: it says that it does not.
    """
    for capability in connection.capabilities:
        limit = _LIMIT.fullmatch(capability)
        if limit is not None and size > int(limit[1]):
            raise MessageError(f"it has {size} bytes, and the server takes {limit[1]} at most")
