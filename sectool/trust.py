"""Whether nobody but root and whoever runs this can change what a path leads to.

As OpenSSH's StrictModes, and further: a path is walked from the root, a component at a
time, and each directory is judged before a name is looked up in it. Who may not write to a
directory that was judged cannot exchange what lies in it either, so that the answer stays
true for as long as the rights do: nothing has to be held open, and SQLite can be given a
path. Links are followed here and nowhere else.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from sectool.errors import UnsafeDirectory, UsageError
from sectool.values import dataclass

PLACE = "/var/lib/sectool"
"""Directory of root's below which an administrator's job directories lie."""

MAXIMUM_LINKS = 40
"""Links on one way, as the kernel has it."""

_LARGEST_GROUP = (1 << 32) - 2

_WITHOUT_MODES = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"})
"""File systems, as of a USB stick, where ``chmod`` changes nothing."""

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LOCAL_SOURCES = frozenset({"files", "systemd"})
"""Sources of accounts that list all they have, so that a group's members can be told."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a path leads; each directory on the way is safe."""

    real: Path
    """Absolute and without links, as far as it exists."""
    missing: tuple[str, ...] = ()
    """Components that do not exist yet."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may write to a directory beside root and the caller."""

    group: int | None = None
    """Number of a group whose members are trusted; None: nobody's."""

    @classmethod
    def in_group(cls, name: str | None) -> Trust:
        """Trusts the members of a group as well; None: nobody.

        Args:
            name: of the group, or the number of one that has none.

        Raises:
            UsageError: there is no such group.
        """
        if name is None:
            return cls()
        import grp  # noqa: PLC0415  # not on Windows

        try:
            return cls(grp.getgrnam(name).gr_gid)
        except (KeyError, ValueError):
            if name.isascii() and name.isdecimal() and int(name) <= _LARGEST_GROUP:
                return cls(int(name))
            raise UsageError(
                f"there is no group {name!r}", hint="`getent group` lists them"
            ) from None

    # --- a way -----------------------------------------------------------------------------

    def walk(self, path: Path, *, judges_links_only: bool = False) -> Way:
        """Follows a path through directories that nobody else can write to.

        Where it leads is not judged itself: see ``check_own_directory``.

        Args:
            path: may be relative.
            judges_links_only: for what may lie in anybody's directory, and is reached from open
                directory to open directory afterwards: only where a link is followed nobody
                else may be able to have made it.

        Raises:
            UnsafeDirectory: somebody else could lead it elsewhere.
            UsageError: there are too many links.
            OSError: a component cannot be looked at.
        """
        if not hasattr(os, "geteuid"):  # pragma: no cover  # rights are another matter there
            return Way(path.resolve())
        names = deque(components(path if path.is_absolute() else Path.cwd() / path))
        real, links = Path("/"), 0
        while names:
            name = names.popleft()
            if name == "..":
                real = real.parent
                continue
            is_shared = not judges_links_only and self._check_passed(real)
            here = real / name
            try:
                status = here.lstat()
            except FileNotFoundError:
                return Way(real, (name, *names))
            if is_shared and status.st_uid not in _trusted():
                raise _planted(here, status)
            if not stat.S_ISLNK(status.st_mode):
                real = here
                continue
            if judges_links_only:
                self._check_link(here, status, path)
            links += 1
            if links > MAXIMUM_LINKS:
                raise UsageError(f"{path} goes through too many links", hint="name what is meant")
            target = here.readlink()
            names.extendleft(reversed(components(target)))
            real = Path("/") if target.is_absolute() else real
        return Way(real)

    def _check_link(self, link: Path, status: os.stat_result, way: Path) -> None:
        try:
            for directory in reversed(link.parents):
                self._check_passed(directory)
            if status.st_uid not in _trusted():
                raise _planted(link, status)
        except UnsafeDirectory as error:
            raise UnsafeDirectory(
                f"{link} is a link that somebody else could have made: {error.message}",
                hint=f"name what is meant itself: {_quoted(Path(os.path.realpath(way)))}",
            ) from error

    def _check_passed(self, directory: Path) -> bool:
        """Judges a directory in which a name is looked up.

        Returns:
            Whether others may make names in it, but neither remove nor rename those of others.
        """
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
        if status.st_uid not in _trusted():
            raise UnsafeDirectory(
                f"the directory {directory} belongs to {person(status.st_uid)}, who could put"
                " another in the place of what lies in it",
                hint=_elsewhere(status.st_uid),
            )
        _check_mount(directory, status)
        if not self.is_writable_by_others(directory, status):
            return False
        if status.st_mode & stat.S_ISVTX:
            return True
        raise _writable_by_others(directory, status)

    def is_writable_by_others(self, directory: Path | int, status: os.stat_result) -> bool:
        """Whether anybody but the owner, root and who is trusted can write to a directory.

        Args:
            directory: path or descriptor.
            status: of it.
        """
        if status.st_mode & stat.S_IWOTH:
            return True
        if not status.st_mode & stat.S_IWGRP:
            return False
        # Under an access control list these bits bound what anybody named in it may do.
        if _has_access_list(directory):
            return True
        return status.st_gid != self.group and not _is_private(status.st_gid, status.st_uid)

    def exposure(self, path: Path) -> str:
        """Who else can read or change a file with a secret; empty: nobody, or it is no file."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return ""
        if not hasattr(os, "geteuid") or not stat.S_ISREG(status.st_mode):
            return ""
        mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
        if status.st_uid not in _trusted():
            return f"it belongs to {person(status.st_uid)}"
        if status.st_mode & stat.S_IRWXO:
            return f"everybody may read or change it {mode}"
        is_known = status.st_gid == self.group or _is_private(status.st_gid, status.st_uid)
        if status.st_mode & stat.S_IRWXG and (not is_known or _has_access_list(path)):
            return f"its group may read or change it {mode}"
        return ""

    # --- what lies at its end ------------------------------------------------------------

    def check_own_directory(self, directory: Path) -> None:
        """Holds that a directory is of root or the caller, and for nobody else's eyes.

        Args:
            directory: as ``walk`` answered it.

        Raises:
            UnsafeDirectory: it is another's, or others may read or change it.
            OSError: it cannot be looked at.
        """
        if not hasattr(os, "geteuid"):  # pragma: no cover
            return
        status = directory.lstat()
        _check_kind(directory, status, stat.S_IFDIR)
        _check_owner(directory, status)
        _check_mount(directory, status)
        others = status.st_mode & _OF_OTHERS
        if status.st_gid == self.group and not _has_access_list(directory):
            others &= stat.S_IRWXO
        if others:
            raise _open_to_others(directory, status, others, "chmod 700")

    def check_own_names(
        self, directory: Path, *, files: Iterable[str] = (), directories: Iterable[str] = ()
    ) -> None:
        """Holds that what lies under these names is of the right kind, and nobody else's.

        Only within a directory that is safe itself. A name that is not there is no fault.

        Args:
            directory: as ``walk`` answered it.
            files: names of files, with no further name elsewhere.
            directories: names of directories, each after the one it lies in.

        Raises:
            UnsafeDirectory: one is a link, of another kind, of another user, or one that others
                may write to.
            OSError: one cannot be looked at.
        """
        for kind, names in ((stat.S_IFDIR, directories), (stat.S_IFREG, files)):
            for name in names:
                path = directory / name
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                self._check_own(path, status, kind)

    def _check_own(self, path: Path, status: os.stat_result, kind: int) -> None:
        _check_kind(path, status, kind)
        if not hasattr(os, "geteuid"):  # pragma: no cover
            return
        _check_owner(path, status)
        if kind == stat.S_IFREG and status.st_nlink > 1:
            raise UnsafeDirectory(
                f"{path} has another name elsewhere, under which others may reach it",
                hint="put a copy in its place: "
                f"cp -p {_quoted(path)} {_quoted(path)}.copy"
                f" && mv {_quoted(path)}.copy {_quoted(path)}",
            )
        if kind == stat.S_IFDIR:
            _check_mount(path, status)
        if self.is_writable_by_others(path, status):
            raise _writable_by_others(path, status)


def open_named(path: str, flags: int) -> int:
    """Opens a file that a person named, for ``open``; a pipe only of root's or the caller's.

    Whoever opens a pipe waits until somebody writes to it.

    Raises:
        OSError: it cannot be opened, or is a pipe of somebody else's.
    """
    if not hasattr(os, "O_PATH"):  # pragma: no cover  # not on Linux
        return os.open(path, flags)
    # Found first and opened then, so that what is opened is what was judged.
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISFIFO(status.st_mode) and status.st_uid not in _trusted():
            raise OSError(errno.EINVAL, "it is a pipe of somebody else's")
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    finally:
        os.close(descriptor)


# --- what is asked of the system ----------------------------------------------------------


def components(path: Path) -> list[str]:
    """The names of a path, without what stands for its root."""
    return [name for name in path.parts if name != path.anchor]


def _trusted() -> frozenset[int]:
    return frozenset({0, os.geteuid()})


def _has_access_list(path: Path | int) -> bool:
    """Whether more than three classes of people have rights; True where that cannot be told."""
    try:
        # No descriptor of O_PATH has attributes, but what it leads to has.
        place = f"/proc/self/fd/{path}" if isinstance(path, int) else path
        os.getxattr(place, "system.posix_acl_access", follow_symlinks=isinstance(path, int))
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}
    except AttributeError:  # pragma: no cover  # not on Linux
        return True
    return True


def _is_private(group: int, owner: int) -> bool:
    """Whether the owner is the only member of a group; False where that cannot be told."""
    import grp  # noqa: PLC0415  # not on Windows
    import pwd  # noqa: PLC0415

    if not _lists_all_accounts():
        return False
    try:
        members = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(group).gr_mem}
    except (KeyError, OSError):
        return False
    members.update(entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == group)
    return members == {owner}


def _lists_all_accounts() -> bool:
    """Whether all accounts and groups are listed here, and none in a directory service alone."""
    try:
        text = Path("/etc/nsswitch.conf").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return names_local_sources_only(text)


def names_local_sources_only(text: str) -> bool:
    """Whether by this ``nsswitch.conf`` accounts and groups come from lists of this machine."""
    for line in text.splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() in {"passwd", "group", "initgroups"}:
            words = set(re.sub(r"\[[^]]*\]", " ", sources).split())
            if not words <= _LOCAL_SOURCES:
                return False
    return True


def _check_mount(directory: Path, status: os.stat_result) -> None:
    """Holds that no user's program answers for a directory: it may call root its owner."""
    if directory != Path("/") and directory.parent.lstat().st_dev == status.st_dev:
        return
    for mounted in mounters(_mount_table(), status.st_dev):
        if mounted not in _trusted():
            raise UnsafeDirectory(
                f"the file system of {directory} is mounted by {person(mounted)}, who decides"
                " what is in it",
                hint=_elsewhere(mounted),
            )


def _mount_table() -> str:
    try:
        return Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def mounters(table: str, device: int) -> Iterator[int]:
    """Who mounted the FUSE file systems of a device, by a ``mountinfo`` (proc(5))."""
    for kind, options in _file_systems(table, device):
        for option in options if kind.startswith("fuse") else ():
            name, _, value = option.partition("=")
            if name == "user_id" and value.isdigit():
                yield int(value)


def keeps_no_modes(table: str, device: int) -> bool:
    """Whether the modes of files are those that a device was mounted with, by a ``mountinfo``."""
    return any(kind in _WITHOUT_MODES for kind, _ in _file_systems(table, device))


def _file_systems(table: str, device: int) -> Iterator[tuple[str, list[str]]]:
    """Kind of each file system of a device, with its options."""
    number = f" {os.major(device)}:{os.minor(device)} "
    # The kernel writes a line feed in a name as \012, but no other character that ends a line.
    for line in table.split("\n"):
        if number not in line:  # as most are, of the many tables that a command reads
            continue
        before, _, after = line.partition(" - ")
        kind, *rest = after.split(" ")
        if before.split(" ")[2:3] == [number.strip()]:
            yield kind, rest[-1].split(",") if rest else []


# --- what is told -----------------------------------------------------------------------------


def _check_kind(path: Path, status: os.stat_result, kind: int) -> None:
    if stat.S_IFMT(status.st_mode) == kind:
        return
    wanted = "directory" if kind == stat.S_IFDIR else "regular file"
    what = "a link" if stat.S_ISLNK(status.st_mode) else f"no {wanted}"
    raise UnsafeDirectory(
        f"{path} is {what}, where sectool makes a {wanted}",
        hint="put the job directory back as it was; nothing in it may be a link",
    )


def _check_owner(path: Path, status: os.stat_result) -> None:
    owner, caller = status.st_uid, os.geteuid()
    if owner in _trusted():
        return
    who = person(owner)
    hint = _elsewhere(owner)
    if caller:
        hint = f"if it is to be yours, as root: chown {caller} {_quoted(path)}"
    raise UnsafeDirectory(f"{path} belongs to {who}, who could change what is in it", hint=hint)


def _writable_by_others(path: Path, status: os.stat_result) -> UnsafeDirectory:
    bits = status.st_mode & _WRITABLE
    whose = "g" * bool(bits & stat.S_IWGRP) + "o" * bool(bits & stat.S_IWOTH)
    return _open_to_others(path, status, bits, f"chmod {whose}-w")


def _open_to_others(path: Path, status: os.stat_result, bits: int, command: str) -> UnsafeDirectory:
    """The error of what others have rights on.

    Args:
        path: of it.
        status: of it.
        bits: of its mode, those that are too many.
        command: takes them away.
    """
    who = "others" if bits & stat.S_IRWXO else "its group"
    may = "write to" if bits & _WRITABLE else "look into"
    hint = f"{command} {_quoted(path)}"
    if status.st_uid != os.geteuid() and os.geteuid():
        hint = f"as root: {hint}"
    if keeps_no_modes(_mount_table(), status.st_dev):
        hint = "its file system keeps no modes: mount it with umask=077, or name a place on another"
    elif who == "its group" and status.st_gid and not _has_access_list(path):
        hint += f"; or --trust-group {_group(status.st_gid)} where all its members may do all this"
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    return UnsafeDirectory(f"{who} can {may} {path} ({mode})", hint=hint)


def _planted(path: Path, status: os.stat_result) -> UnsafeDirectory:
    what = "link" if stat.S_ISLNK(status.st_mode) else "directory"
    return UnsafeDirectory(
        f"the {what} {path} is {person(status.st_uid)}'s, in a directory that all may write to",
        hint=_elsewhere(status.st_uid),
    )


def _elsewhere(owner: int) -> str:
    if os.geteuid():
        return "name a place that only you and root can write to, such as below your home directory"
    user = _name(owner)
    return (
        f"run it as `sudo -u {user or repr(f'#{owner}')}` does; or name a place that only root can"
        f" write to, such as {PLACE}/{user or owner}"
    )


def _name(owner: int) -> str:
    import pwd  # noqa: PLC0415  # not on Windows

    try:
        return pwd.getpwuid(owner).pw_name
    except (KeyError, OSError):
        return ""


def person(owner: int) -> str:
    """What a user is called, else their number."""
    return _name(owner) or f"uid {owner}"


def _group(number: int) -> str:
    import grp  # noqa: PLC0415  # not on Windows

    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OSError):
        return str(number)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
