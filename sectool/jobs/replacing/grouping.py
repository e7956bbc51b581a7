"""Hands on what comes one by one in groups, so that one sync and one commit serve many messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from sectool.mailbox import Mailbox, Unit
from sectool.message import MessageRef

GROUP_MESSAGES = 64
"""Messages replaced together: so many have two copies at once at most."""

GROUP_BYTES = 32 * 1024 * 1024
"""Bytes of new messages in a group, unless one message has more."""

Entry = TypeVar("Entry")


class _Lying(Protocol):
    """What lies somewhere in a mailbox."""

    @property
    def ref(self) -> MessageRef:
        """Where."""


LyingT = TypeVar("LyingT", bound=_Lying)


def in_order(mailbox: Mailbox, messages: Iterator[LyingT]) -> Iterator[LyingT]:
    """The messages as they wait, or by folder where the mailbox writes one anew as a whole."""
    if mailbox.capabilities.unit is Unit.MESSAGE:
        return messages
    return iter(sorted(messages, key=lambda message: message.ref.folder))


def space_to_rewrite(mailbox: Mailbox, messages: Iterable[_Lying]) -> int:
    """Bytes that a mailbox takes meanwhile where it writes whole folders, beside what stays.

    Args:
        mailbox: is walked where it does.
        messages: that are replaced by others of their size.
    """
    folders = {message.ref.folder for message in messages}
    if mailbox.capabilities.unit is Unit.MESSAGE or not folders:
        return 0
    sizes = [sum(listing.size for listing in mailbox.walk(folder)) for folder in folders]
    # All that is finished waits beside; one folder after the other is written.
    return sum(sizes) + max(sizes)


class Grouping(Generic[Entry]):
    """Entries that wait for their group to be full.

    Args:
        act: takes a whole group.
    """

    def __init__(self, act: Callable[[Sequence[Entry]], object]) -> None:
        self._act = act
        self._entries: list[Entry] = []
        self._bytes = 0

    def add(self, entry: Entry, size: int) -> None:
        """Takes one more entry of ``size`` bytes, and hands the group on where it is full."""
        self._entries.append(entry)
        self._bytes += size
        if len(self._entries) >= GROUP_MESSAGES or self._bytes >= GROUP_BYTES:
            self.finish()

    def finish(self) -> None:
        """Hands on what is left."""
        entries, self._entries, self._bytes = self._entries, [], 0
        if entries:
            self._act(entries)
