"""What is removed is what was read, and what comes in its place has its rights and no others."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageChanged, MessageError, MessageVanished
from sectool.mailbox import Add, Intent, Mailbox, Placed, Replace, Written, open_mailbox
from sectool.mailbox.files.inheriting import Inheritance
from sectool.mailbox.maildir import Maildir
from sectool.message import BytesContent, FileContent, MessageRef
from sectool.sight import CLOCK_GRAIN, Sight
from tests.support.mailbox_contract import NEW, OLD, World, intend, place, write
from tests.support.replacing_process import settled

OTHER = OLD.replace(b"old body", b"odd body")
LIST = "system.posix_acl_access"
DEFAULT_LIST = "system.posix_acl_default"

LONG = 2.5 * CLOCK_GRAIN / 1_000_000_000
"""Seconds after which a change has another time for certain."""


@pytest.fixture
def root(maildir: World) -> Path:
    return Path(maildir.specification.location)


@pytest.fixture
def mailbox(maildir: World) -> Mailbox:
    return open_mailbox(maildir.specification)


@contextmanager
def at(point: str, act: Callable[[], object]) -> Iterator[None]:
    """Acts when a point is first passed."""

    def hook(name: str) -> None:
        if name == point:
            install(None)
            act()

    install(hook)
    try:
        yield
    finally:
        install(None)


def overwrite_secretly(path: Path, raw: bytes) -> None:
    """Leaves size and time as they were."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(raw)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("point", ["maildir.flagged.before", "maildir.flagged.after"])
@pytest.mark.parametrize("which", ["old", "new"])
def test_a_writer_who_keeps_size_and_time_is_noticed(
    maildir: World, mailbox: Mailbox, root: Path, point: str, which: str
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    placed = place(mailbox, [ref])
    time.sleep(LONG)  # their times count for what they say, so that they alone tell of it
    path, raw = root / "cur" / f"{ref.key}:2,S", OTHER
    if which == "new":
        (path,) = root.glob(f"cur/{placed[0].ref.key}*")
        raw = NEW.replace(b"new", b"odd")
    # Between the look at both copies and the removal.
    with at(point, lambda: overwrite_secretly(path, raw)):
        (answer,) = mailbox.retire(placed)
    assert isinstance(answer, MessageChanged)
    assert sorted(seen.raw for seen in maildir.seen()) == sorted(
        [raw, NEW if which == "old" else OLD]
    )


def test_a_writer_in_the_same_moment_as_the_reading_is_noticed(
    maildir: World, mailbox: Mailbox, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the times of a file system are whole seconds: the change shows in none."""
    ref = maildir.deliver("INBOX", OLD)
    placed = place(mailbox, [ref])
    time.sleep(LONG)  # the time of the new copy counts for what it says
    path = root / "cur" / f"{ref.key}:2,S"
    path.chmod(0o640)
    changed = path.stat()

    def lstat(*arguments: object, **named: object) -> os.stat_result:
        status = real(*arguments, **named)  # type: ignore[arg-type]
        return changed if status.st_ino == changed.st_ino else status

    real, fstat = os.lstat, os.fstat
    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(
        os, "fstat", lambda file: changed if fstat(file).st_ino == changed.st_ino else fstat(file)
    )
    monkeypatch.setattr("time.time_ns", lambda: changed.st_ctime_ns + 1_000_000)
    with at("maildir.flagged.after", lambda: overwrite_secretly(path, OTHER)):
        (answer,) = mailbox.retire(placed)
    assert isinstance(answer, MessageChanged)


def test_a_writer_by_a_map_of_memory_which_changes_no_time_is_noticed(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    """Not of the caller alone: of what is theirs, nobody else has a map."""
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    path.chmod(0o660)
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[:] = OLD
        time.sleep(LONG)  # the time of this change counts for what it says
        read = mailbox.fetch(ref)
        (intent,) = mailbox.intend([Replace(ref, BytesContent(NEW), read.revision, read.sight)])
        placed = mailbox.place(mailbox.write([(intent, BytesContent(NEW))]))  # type: ignore[arg-type]
        time.sleep(LONG)
        changed = path.stat().st_ctime_ns
        mapped[:] = OTHER
        assert path.stat().st_ctime_ns == changed
        (answer,) = mailbox.retire(placed)  # type: ignore[arg-type]
    assert isinstance(answer, MessageChanged)
    assert path.read_bytes() == OTHER


@pytest.fixture
def new_copy(maildir: World, mailbox: Mailbox, root: Path) -> tuple[Intent, FileContent]:
    """As a worker made it."""
    stored = mailbox.fetch(maildir.deliver("INBOX", OLD))
    path = root / "tmp" / "sectool.test.1"
    path.write_bytes(NEW)
    time.sleep(LONG)  # the time of this file counts for what it says
    content = settled(path, stored)
    time.sleep(LONG)
    content = replace(content, sight=Sight.now(path.stat()))
    (intent,) = mailbox.intend([Replace(stored.ref, content, stored.revision, stored.sight)])
    return intent, content


def test_a_new_copy_that_its_worker_read_back_is_not_read_again(
    mailbox: Mailbox,
    root: Path,
    new_copy: tuple[Intent, FileContent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (written,) = mailbox.write([new_copy])
    monkeypatch.setattr("sectool.mailbox.files.replacing.open_regular_file", _refuse)
    (placed,) = mailbox.place([written])  # type: ignore[list-item]
    assert isinstance(placed, Placed)
    assert [path.read_bytes() for path in root.glob(f"cur/{new_copy[0].where}*")] == [NEW]


def test_a_new_copy_that_is_changed_after_it_was_read_back_is_not_placed(
    maildir: World, mailbox: Mailbox, new_copy: tuple[Intent, FileContent]
) -> None:
    overwrite_secretly(new_copy[1].path, NEW.replace(b"new", b"odd"))
    (written,) = mailbox.write([new_copy])
    (placed,) = mailbox.place([written])  # type: ignore[list-item]
    assert isinstance(placed, MessageError)
    assert [seen.raw for seen in maildir.seen()] == [OLD]


def test_a_new_copy_that_is_changed_before_it_is_placed_costs_no_old_one(
    maildir: World, mailbox: Mailbox, root: Path, new_copy: tuple[Intent, FileContent]
) -> None:
    (written,) = mailbox.write([new_copy])
    odd = NEW.replace(b"new", b"odd")
    staged = root / "tmp" / new_copy[0].where
    with at("maildir.sync.after", lambda: overwrite_secretly(staged, odd)):
        (placed,) = mailbox.place([written])  # type: ignore[list-item]
    assert isinstance(placed, Placed)
    (answer,) = mailbox.retire([placed])
    assert isinstance(answer, MessageChanged)
    assert sorted(seen.raw for seen in maildir.seen()) == sorted([odd, OLD])


def test_a_new_copy_has_the_rights_that_the_old_one_was_given_meanwhile(
    mailbox: Mailbox, root: Path, new_copy: tuple[Intent, FileContent]
) -> None:
    (root / "cur" / f"{new_copy[0].replaced.key}:2,S").chmod(0o604)
    (written,) = mailbox.write([new_copy])
    mailbox.place([written])  # type: ignore[list-item]
    (path,) = root.glob(f"cur/{new_copy[0].where}*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_message_that_took_the_name_of_a_twin_stays(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    twin = root / "new" / ref.key
    twin.hardlink_to(path)
    placed = place(mailbox, [ref])

    def deliver() -> None:
        twin.unlink()
        twin.write_bytes(OTHER)

    with at("maildir.retire.before", deliver):
        mailbox.retire(placed)
    assert sorted(seen.raw for seen in maildir.seen()) == sorted([NEW, OTHER])


# --- a removal and who is quicker ------------------------------------------------------


def other_file(path: Path) -> None:
    """As a mail program edits a message: a file of its own that takes the name."""
    edited = path.with_name("edited")
    edited.write_bytes(OTHER)
    edited.rename(path)


def killed(mailbox: Mailbox, placed: list[Placed], point: str, act: Callable[[], object]) -> None:
    """Ends a removal at a point, as a kill does; before it somebody acts."""

    def hook(name: str) -> None:
        if name == "maildir.retire.before":
            act()
        if name == point:
            raise KeyboardInterrupt

    install(hook)
    try:
        with pytest.raises(KeyboardInterrupt):
            mailbox.retire(placed)
    finally:
        install(None)


def test_a_file_that_takes_the_name_after_the_last_look_stays(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    placed = place(mailbox, [ref])
    with at("maildir.retire.before", lambda: other_file(path)):
        (answer,) = mailbox.retire(placed)
    assert isinstance(answer, MessageChanged)
    assert path.read_bytes() == OTHER
    assert sorted(seen.raw for seen in maildir.seen()) == sorted([NEW, OTHER])
    assert list(root.glob("tmp/*")) == []


@pytest.mark.parametrize("point", ["maildir.sync.before", "maildir.sync.after"])
def test_what_its_owner_removed_while_the_new_copy_was_made_does_not_come_back(
    maildir: World, mailbox: Mailbox, root: Path, point: str
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    written = write(mailbox, [ref])
    with at(point, (root / "cur" / f"{ref.key}:2,S").unlink):
        (answer,) = mailbox.place(written)
    assert isinstance(answer, MessageVanished)
    mailbox.abandon([copy.intent for copy in written])
    assert [*maildir.seen(), *root.glob("tmp/*")] == []


@pytest.mark.parametrize(
    "point",
    ["maildir.stage", "maildir.sync.before", "maildir.directory.after", "maildir.retire.before"],
)
def test_what_a_server_is_moving_is_not_removed_from_under_it(
    maildir: World, mailbox: Mailbox, root: Path, point: str
) -> None:
    """It gives the file its new name, and then takes the old one, which may take a moment."""
    ref = maildir.deliver("INBOX", OLD)
    maildir.deliver("Sent", OTHER)
    path, moved = root / "cur" / f"{ref.key}:2,S", root / ".Sent" / "cur" / "1700000000.M1P1.moved"
    time.sleep(LONG)
    stored = mailbox.fetch(ref)
    content = BytesContent(NEW)
    (intent,) = mailbox.intend([Replace(ref, content, stored.revision, stored.sight)])
    with at(point, lambda: moved.hardlink_to(path)):
        (written,) = mailbox.write([(intent, content)])
        assert isinstance(written, Written)
        (placed,) = mailbox.place([written])
        assert isinstance(placed, Placed)
        (answer,) = mailbox.retire([placed])
    assert isinstance(answer, MessageChanged)
    assert path.read_bytes() == OLD
    assert list(root.glob("tmp/*.old")) == []


@pytest.mark.parametrize("renamed", [False, True], ids=["", "renamed"])
@pytest.mark.parametrize("name", ["1700000000.M1P1.host", "odd%name\N{SNOWMAN}", "odd\udcff name"])
def test_such_a_file_comes_back_by_its_name_after_a_kill(
    maildir: World, root: Path, name: str, renamed: bool
) -> None:
    mailbox = open_mailbox(maildir.specification)
    ref = maildir.deliver("Sent", OLD)
    path = root / ".Sent" / "cur" / f"{name}:2,FS"
    (root / ".Sent" / "cur" / f"{ref.key}:2,S").rename(path)
    (listing,) = mailbox.walk("Sent")
    placed = place(mailbox, [listing.ref])
    killed(mailbox, placed, "maildir.retire.after", lambda: other_file(path))
    assert not path.exists()
    if renamed:
        (root / ".Sent").rename(root / ".Elsewhere")
        path = root / ".Elsewhere" / "cur" / path.name
    with open_mailbox(maildir.specification) as again, again.lock():
        again.settle([copy.written.intent for copy in placed])
    assert path.read_bytes() == OTHER
    assert list(root.glob("**/tmp/*")) == []


def test_it_comes_back_beside_whatever_has_its_name_by_then(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    placed = place(mailbox, [ref])
    killed(mailbox, placed, "maildir.retire.after", lambda: other_file(path))
    path.write_bytes(b"Subject: a third\n\n")
    with mailbox.lock():
        mailbox.settle([copy.written.intent for copy in placed])
    left = sorted(file.read_bytes() for file in root.glob("cur/*"))
    assert left == sorted([NEW, OTHER, b"Subject: a third\n\n"])


@pytest.mark.parametrize("key", ["../../cur/x", "tmp/x", "cur/../x", "..", "a%2Fb", "cur/.x", ""])
def test_no_name_of_a_log_leads_out_of_a_folder(
    maildir: World, mailbox: Mailbox, root: Path, key: str
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    placed = place(mailbox, [ref])
    killed(mailbox, placed, "maildir.retire.after", lambda: other_file(root / f"cur/{ref.key}:2,S"))
    intent = placed[0].written.intent
    before = {path for path in root.rglob("*") if root / "cur" not in path.parents}
    with mailbox.lock():
        mailbox.settle([replace(intent, replaced=MessageRef("INBOX", key))])
    now = {path for path in root.rglob("*") if root / "cur" not in path.parents}
    assert now == {path for path in before if path.suffix != ".old"}
    assert not [path for path in (root / "cur").iterdir() if path.name[0] in ":."]
    assert sorted(seen.raw for seen in maildir.seen()) == sorted([NEW, OTHER])


def test_a_further_name_in_another_folder_is_a_message_of_its_own(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    other = maildir.deliver("Sent", NEW)
    maildir.path(other).unlink()  # type: ignore[attr-defined]
    (root / ".Sent/cur" / f"{other.key}:2,S").hardlink_to(root / "cur" / f"{ref.key}:2,S")
    mailbox.retire(place(mailbox, [ref]))
    assert {(seen.folder, seen.raw) for seen in maildir.seen()} == {("INBOX", NEW), ("Sent", OLD)}


# --- rights -----------------------------------------------------------------------------


def acl(*, user: int, group: int, named: int, mask: int, other: int = 0) -> bytes:
    """An access control list as the kernel takes it, with one named user (acl(5))."""
    entries = [(1, user, -1), (2, named, 4242), (4, group, -1), (16, mask, -1), (32, other, -1)]
    packed = [struct.pack("<HHi", *entry) for entry in entries]
    return struct.pack("<I", 2) + b"".join(packed)


SHARED = acl(user=6, group=0, named=4, mask=4)
"""A named user may read, and the group may not, though its bit in the mode is set."""


@pytest.fixture
def lists(root: Path) -> None:
    try:
        os.setxattr(root, LIST, acl(user=7, group=0, named=5, mask=5))
        os.setxattr(root, "user.test", b"x")
    except OSError:
        pytest.skip("the file system has no access control lists")


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("spooled", [False, True])
def test_lists_and_attributes_come_along_and_no_right_is_new(
    maildir: World, root: Path, spooled: bool
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    os.setxattr(path, LIST, SHARED)
    os.setxattr(path, "user.label", b"important")
    mailbox = Maildir(maildir.specification)
    (intent,) = intend(mailbox, [ref])
    content: BytesContent | FileContent = BytesContent(NEW)
    if spooled:
        (root / "tmp/sectool.test").write_bytes(NEW)
        content = FileContent(root / "tmp/sectool.test")
    (written,) = mailbox.write([(intent, content)])
    assert isinstance(written, Written)
    mailbox.retire(mailbox.place([written]))  # type: ignore[arg-type]
    (after,) = (root / "cur").iterdir()
    assert os.getxattr(after, LIST) == SHARED
    assert os.getxattr(after, "user.label") == b"important"
    assert after.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("lists")
def test_a_list_that_is_not_taken_leaves_no_right_to_the_group(
    maildir: World, mailbox: Mailbox, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    path = root / "cur" / f"{ref.key}:2,S"
    os.setxattr(path, LIST, SHARED)

    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)  # as on a file system of another kind
    mailbox.retire(place(mailbox, [ref]))
    (after,) = (root / "cur").iterdir()
    assert after.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("lists")
def test_the_default_list_of_a_directory_gives_no_right_on_a_message_that_had_none(
    maildir: World, mailbox: Mailbox, root: Path
) -> None:
    ref = maildir.deliver("INBOX", OLD)
    (root / "cur" / f"{ref.key}:2,S").chmod(0o640)
    os.setxattr(root / "tmp", DEFAULT_LIST, acl(user=6, group=4, named=6, mask=6))
    mailbox.retire(place(mailbox, [ref]))
    (after,) = (root / "cur").iterdir()
    assert LIST not in os.listxattr(after)
    assert after.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("lists")
def test_a_folder_that_is_made_has_the_list_of_its_mailbox_and_a_message_no_bits_of_a_mask(
    maildir: World, root: Path
) -> None:
    mailbox = Maildir(maildir.specification)
    date = datetime(2011, 3, 4, tzinfo=UTC)
    (intent,) = mailbox.intend([Add("Recovered", BytesContent(NEW), date)])
    (written,) = mailbox.write([(intent, BytesContent(NEW))])
    assert isinstance(written, Written)
    mailbox.place([written])
    for made in (root / ".Recovered", root / ".Recovered/cur"):
        assert os.getxattr(made, LIST) == os.getxattr(root, LIST)
    (added,) = (root / ".Recovered/cur").iterdir()
    assert added.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("mode", "has_list", "given"),
    [(0o604, False, 0o600), (0o644, False, 0o604), (0o640, False, 0o600), (0o644, True, 0o600)],
)
def test_without_its_group_or_its_list_a_new_copy_is_open_to_nobody_more(
    tmp_path: Path, mode: int, given: int, *, has_list: bool
) -> None:
    (tmp_path / "old").touch()
    old = Inheritance.of_copy((tmp_path / "old").stat(), {LIST: None} if has_list else {})
    with (tmp_path / "new").open("xb") as stream:
        refused = replace(old, group=old.group + 1, mode=mode)
        with pytest.MonkeyPatch.context() as system:
            system.setattr(os, "fchown", _refuse)
            refused.give(stream.fileno())
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == given


def _refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
