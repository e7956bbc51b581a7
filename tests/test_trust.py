"""Who else could change a path: what is asked of the system. Attacks stand in ``tests/cli``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sectool.errors import UnsafeDirectory, UsageError
from sectool.trust import Trust, Way, keeps_no_modes, mounters, names_local_sources_only

TABLE = """\
22 27 0:21 / /proc rw,nosuid shared:5 - proc proc rw
90 27 0:45 / /home/a/mnt rw,nosuid - fuse.sshfs host: rw,user_id=1000,group_id=1000,allow_other
91 27 0:46 / /mnt/ntfs rw - fuseblk /dev/sdb1 rw,user_id=0,group_id=0,allow_other,blksize=4096
92 27 8:1 / / rw - ext4 /dev/sda1 rw,user_id=7
93 27 0:47 / /odd rw - fuse
94 27 8:17 / /media/a/STICK rw,nosuid - vfat /dev/sdb1 rw,uid=1000,fmask=0022,dmask=0022
"""


@pytest.mark.parametrize(
    ("device", "users"),
    [((0, 45), [1000]), ((0, 46), [0]), ((8, 1), []), ((0, 47), []), ((9, 9), [])],
)
def test_a_fuse_file_system_is_its_mounters(device: tuple[int, int], users: list[int]) -> None:
    assert list(mounters(TABLE, os.makedev(*device))) == users


@pytest.mark.parametrize(
    ("device", "is_so"), [((8, 17), True), ((0, 46), True), ((8, 1), False), ((9, 9), False)]
)
def test_of_a_file_system_without_modes_no_chmod_is_advised(
    device: tuple[int, int], is_so: bool
) -> None:
    assert keeps_no_modes(TABLE, os.makedev(*device)) is is_so


@pytest.mark.parametrize(
    ("line", "is_so"),
    [
        ("passwd: files", True),
        ("passwd:\tfiles systemd\ngroup: files [SUCCESS=merge] systemd", True),
        ("hosts: files dns", True),
        ("passwd: files sss", False),
        ("group: files [NOTFOUND=return] ldap", False),
        ("passwd: compat", False),
        ("initgroups: files winbind", False),
        ("# passwd: sss", True),
    ],
)
def test_members_of_a_group_are_told_only_where_all_accounts_are_listed(
    line: str, is_so: bool
) -> None:
    assert names_local_sources_only(f"{line}\n") is is_so


def test_what_is_missing_is_told_from_where_it_begins(tmp_path: Path) -> None:
    assert Trust().walk(tmp_path) == Way(tmp_path)
    assert Trust().walk(tmp_path / "a" / ".." / "b") == Way(tmp_path, ("a", "..", "b"))
    assert Trust().walk(tmp_path / ".." / tmp_path.name) == Way(tmp_path)
    (tmp_path / "link").symlink_to("nowhere/else")
    assert Trust().walk(tmp_path / "link" / "c") == Way(tmp_path, ("nowhere", "else", "c"))


def test_a_way_does_not_go_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Trust().walk(tmp_path / "file" / "below")


def test_a_directory_counts_whose_link_leads_through_it(tmp_path: Path) -> None:
    (tmp_path / "open" / "inner").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open/inner/..")
    for name in ("open/inner", "link", "open/../open/inner/.."):
        with pytest.raises(UnsafeDirectory):
            Trust().walk(tmp_path / name)


def test_a_group_that_is_not_there_is_an_error_of_usage() -> None:
    with pytest.raises(UsageError):
        Trust.in_group("no such group")


def test_a_group_without_a_name_is_named_by_its_number() -> None:
    assert Trust.in_group("4294967294") == Trust(4294967294)
    for number in ("4294967295", "-1", "\u0664"):
        with pytest.raises(UsageError):
            Trust.in_group(number)


@pytest.mark.parametrize("odd", ["\r", "\x0b", "\x1c", "\x85", "\u2028", "\ufffd"])
def test_no_name_of_a_mount_hides_its_mounter(odd: str) -> None:
    table = f"36 25 0:45 / /tmp/x{odd}y rw,relatime - fuse.own own rw,user_id=1000,group_id=1000\n"
    assert list(mounters(table, os.makedev(0, 45))) == [1000]
