"""What a new file or directory of a Maildir is given of the old one, or of its folder.

All is done to an open file, which somebody else's names never lead elsewhere. A new file is
its maker's alone until it has its access control list: the group bits of its mode are the mask
of that list where there is one, and would be rights of the group where there is none yet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta

from sectool.directories import Directory
from sectool.errors import MessageError
from sectool.values import dataclass

ACCESS_LIST = "system.posix_acl_access"
"""Extended attribute that holds a POSIX access control list (acl(5))."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_OTHERS = ("user.", "security.selinux")
"""What the names of the other attributes begin with that a new copy has from the old one."""

_NOT_TAKEN = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENODATA})
"""What an attribute is refused by that the file system or this user cannot set."""


def attributes_of(descriptor: int) -> dict[str, bytes | None]:
    """The extended attributes of an open file that its new copy is to have.

    Returns:
        Values by name; None of one that cannot be read.
    """
    try:
        names = os.listxattr(descriptor)
    except OSError:
        return {}
    found: dict[str, bytes | None] = {}
    for name in names:
        if name == ACCESS_LIST or name.startswith(_OTHERS):
            found[name] = None
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(descriptor, name)
    return found


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a new file is given."""

    owner: int
    group: int
    mode: int
    modified: int | None = None
    """Nanoseconds since 1970; None: as it comes."""
    accessed: int = field(default=0, compare=False)
    """Likewise. Any reading changes that of the old copy, so it makes no difference."""
    attributes: Mapping[str, bytes | None] = field(default_factory=dict)
    takes_default: bool = False
    """Whether the list that the kernel gave it stays, as its directory asks (acl(5))."""

    @classmethod
    def of_copy(cls, old: os.stat_result, attributes: Mapping[str, bytes | None]) -> Inheritance:
        """That of a new copy from the old one."""
        mode = stat.S_IMODE(old.st_mode) & 0o777
        times = old.st_mtime_ns, old.st_atime_ns
        return cls(old.st_uid, old.st_gid, mode, *times, attributes)

    @classmethod
    def in_folder(cls, folder: Directory, date: datetime | None = None) -> Inheritance:
        """That of a file that is added to a folder."""
        status = folder.status()
        when = None if date is None else (date - EPOCH) // timedelta(microseconds=1) * 1000
        mode = 0o600 | (stat.S_IMODE(status.st_mode) & 0o066)
        # A directory's own list is none for files.
        without = {name: None for name in attributes_of(folder.descriptor) if name == ACCESS_LIST}
        owner = status.st_uid, status.st_gid
        return cls(*owner, mode, when, when or 0, without, takes_default=True)

    @classmethod
    def of_directory(cls, parent: Directory) -> Inheritance:
        """That of a directory from the one it is made in."""
        status, attributes = parent.status(), attributes_of(parent.descriptor)
        listed = {name: value for name, value in attributes.items() if name == ACCESS_LIST}
        mode = stat.S_IMODE(status.st_mode)
        owner = status.st_uid, status.st_gid
        return cls(*owner, mode, attributes=listed, takes_default=True)

    def give(self, descriptor: int) -> None:
        """Gives it to an open file or directory that nobody but its maker has a right on.

        Raises:
            MessageError: it cannot be given its owner.
            OSError: it cannot be given another thing.
        """
        is_of_group = self._give_owner(descriptor)
        for name, value in self.attributes.items():
            if name != ACCESS_LIST and value is not None:
                _set(descriptor, name, value)
        if not self._give_list(descriptor, is_of_group=is_of_group):
            os.fchmod(descriptor, self._mode_without(is_of_group=is_of_group))
        if self.modified is not None:
            os.utime(descriptor, ns=(self.accessed, self.modified))

    def _mode_without(self, *, is_of_group: bool) -> int:
        """Rights without those of a list or a group that it does not have.

        Whom these denied a right would have that of the others.
        """
        if ACCESS_LIST in self.attributes:
            return self.mode & 0o700
        if not is_of_group:
            return self.mode & (0o700 | self.mode >> 3 & 0o007)
        return self.mode

    def _give_owner(self, descriptor: int) -> bool:
        """Whether it has the group as well."""
        new = os.fstat(descriptor)
        if (new.st_uid, new.st_gid) == (self.owner, self.group):
            return True
        try:
            os.fchown(descriptor, self.owner, self.group)
        except PermissionError as error:
            if new.st_uid != self.owner:
                raise MessageError(
                    "the new copy cannot be given the owner of the old",
                    hint="run as the owner of the mailbox, or as root",
                ) from error
            return False
        return True

    def _give_list(self, descriptor: int, *, is_of_group: bool) -> bool:
        """Whether the rights are those of an access control list now, the mode included."""
        if self.takes_default and ACCESS_LIST in attributes_of(descriptor):
            os.fchmod(descriptor, self.mode)
            return True
        wanted = self.attributes.get(ACCESS_LIST)
        if wanted is not None and is_of_group and _set(descriptor, ACCESS_LIST, wanted):
            return True
        try:
            os.removexattr(descriptor, ACCESS_LIST)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
        return False


def _set(descriptor: int, name: str, value: bytes) -> bool:
    """Whether the file system took it."""
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        if error.errno not in _NOT_TAKEN:
            raise
        return False
    return True
