"""What the system tells of a file: the same sight later means the same bytes."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

CLOCK_GRAIN = 20_000_000
"""Nanoseconds: what changed that recently may change again without another time."""

COARSE_GRAIN = 2_000_000_000
"""The same where times are whole seconds."""


def grain_of(*times: int) -> int:
    """Nanoseconds after which a change is told from the one before it.

    Args:
        times: nanoseconds that a file system gave one file.
    """
    is_coarse = all(moment % 1_000_000_000 == 0 for moment in times)
    return COARSE_GRAIN if is_coarse else CLOCK_GRAIN


class Sight(NamedTuple):
    """A file as it was when its bytes were read: who changes them changes the time of change."""

    device: int
    inode: int
    owner: int
    mode: int
    size: int
    modified: int
    """Nanoseconds since 1970; its writer may set it back."""
    changed: int
    """Likewise; nobody sets it."""
    links: int
    """Names that it has."""
    is_telling: bool = True
    """Whether a change since would show, so that its bytes need not be read again."""

    @classmethod
    def of(cls, status: os.stat_result) -> Sight:
        """The file as it is now."""
        rights = status.st_dev, status.st_ino, status.st_uid, status.st_mode
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(*rights, status.st_size, *times, status.st_nlink)

    @classmethod
    def now(cls, status: os.stat_result) -> Sight:
        """The file of which this is the status, and which is about to be read."""
        sight = cls.of(status)
        is_telling = sight.is_callers and sight.is_settled(time.time_ns())
        return sight if is_telling else sight._replace(is_telling=False)

    @property
    def file(self) -> tuple[int, int]:
        """What tells it from every other file."""
        return self.device, self.inode

    @property
    def is_callers(self) -> bool:
        """Whether nobody but whoever runs this may write to the file.

        Others can hold it in their memory: what they write there after the first time changes
        no time of the file until it is synced.
        """
        return self.owner == os.geteuid() and not self.mode & 0o022

    def renamed(self, now: Sight) -> Sight | None:
        """The same file after it was renamed, which changes nothing but a time of it.

        Args:
            now: what has its new name.

        Returns:
            None where it is another file, or was changed.
        """
        return now if now == self._replace(changed=now.changed) else None

    def is_settled(self, now: int) -> bool:
        """Whether a change since a reading shows.

        One within the same grain of the clock as the change before leaves all as it is.

        Args:
            now: when the reading began, in nanoseconds since 1970.
        """
        return self.changed + grain_of(self.changed) < now
