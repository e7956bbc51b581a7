"""What is particular to a Maildir: names, layouts, odd files, owners, keywords."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sectool.errors import Locked, MailboxError, MessageError, MessageVanished, NoSuchMailbox
from sectool.mailbox import (
    Add,
    MailboxSpecification,
    Placed,
    Written,
    open_mailbox,
)
from sectool.mailbox.files.folders import OPEN_LIMIT
from sectool.mailbox.files.replacing import OPEN_FILES
from sectool.mailbox.maildir import Maildir
from sectool.message import IN_MEMORY, BytesContent, FileContent, Flags, MessageRef
from tests.support.mailbox_contract import DATE, NEW, OLD, World, all_placed, intend, place, write


@pytest.fixture
def root(maildir: World) -> Path:
    return Path(maildir.specification.location)


@pytest.fixture
def mailbox(maildir: World) -> Maildir:
    return Maildir(maildir.specification)


def keys(mailbox: Maildir, folder: str = "INBOX") -> list[str]:
    return sorted(listing.ref.key for listing in mailbox.walk(folder))


def make_folder(directory: Path, *messages: str) -> None:
    for part in ("cur", "new", "tmp"):
        (directory / part).mkdir(parents=True)
    for name in messages:
        (directory / "cur" / name).write_bytes(OLD)


# --- file names ----------------------------------------------------------------

ODD_NAMES = {
    "no flags": (b"1.M1.host", "1.M1.host"),
    "empty flags": (b"1.M1.host:2,", "1.M1.host"),
    "other info": (b"1.M1.host:1,x", "1.M1.host:1,x"),
    "info twice": (b"1.M1.host:2,S:2,F", "1.M1.host"),
    "leading dash": (b"-rf:2,S", "-rf"),
    "looks like an option": (b"--help:2,S", "--help"),
    "tilde": (b"~:2,S", "~"),
    "wrong size": (b"1.host,S=99:2,S", "1.host,S=99"),
    "newline": (b"a\nb:2,S", "a%0Ab"),
    "not UTF-8": (b"a\xffb:2,S", "a%FFb"),
    "percent": (b"a%FFb:2,S", "a%25FFb"),
    "terminal escape": (b"\x1b[2J:2,S", "%1B[2J"),
    "no base name": (b":2,S", "cur/:2,S"),
    "long": (b"x" * 250 + b":2,S", "x" * 250),
    "spaces": (b" a :2,S", " a "),
}


@pytest.mark.parametrize(("name", "key"), ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_message_with_an_odd_name_can_be_replaced(
    mailbox: Maildir, root: Path, name: bytes, key: str
) -> None:
    """B80."""
    Path(os.fsdecode(os.fsencode(root / "cur") + b"/" + name)).write_bytes(OLD)
    assert keys(mailbox) == [key]
    (answer,) = mailbox.retire(place(mailbox, [MessageRef("INBOX", key)]))
    assert isinstance(answer, Placed)
    assert [path.read_bytes() for path in (root / "cur").iterdir()] == [NEW]


def test_keys_fit_any_database(mailbox: Maildir, root: Path) -> None:
    for name, _ in ODD_NAMES.values():
        Path(os.fsdecode(os.fsencode(root / "new") + b"/" + name)).write_bytes(OLD)
    for key in keys(mailbox):
        assert key.isprintable()
        key.encode("utf-8")


@pytest.mark.parametrize(
    "key", ["../cur/1", "../../x", "/etc/passwd", "..", ".", "", "a\0b", "x" * 300, "cur/../1"]
)
def test_a_key_from_outside_is_never_a_path(maildir: World, mailbox: Maildir, key: str) -> None:
    maildir.deliver("INBOX", OLD)
    with pytest.raises(MessageVanished):
        mailbox.fetch(MessageRef("INBOX", key))


@pytest.mark.parametrize("name", ["../cur/evil", "/tmp/evil", "a\0b", "", "1.M1P1Q1R1.h,S=1", ".."])
def test_an_announced_name_of_another_make_is_not_written(
    maildir: World, mailbox: Maildir, root: Path, name: str
) -> None:
    (good,) = intend(mailbox, [maildir.deliver("INBOX", OLD)])
    forged = replace(good, where=name)
    before = sorted(root.rglob("*"))
    (answer,) = mailbox.write([(forged, BytesContent(NEW))])
    assert isinstance(answer, MessageError)
    (answer,) = mailbox.place([Written(forged, Flags())])  # type: ignore[assignment]
    assert isinstance(answer, MessageError)
    mailbox.abandon([forged])
    assert sorted(root.rglob("*")) == before


def test_new_names_say_their_size(maildir: World, mailbox: Maildir) -> None:
    (intent,) = intend(mailbox, [maildir.deliver("INBOX", OLD)])
    assert intent.where.endswith(f",S={len(NEW)}")
    assert ",W=" not in intent.where


def test_two_files_of_one_unique_name_are_two_messages(mailbox: Maildir, root: Path) -> None:
    (root / "cur" / "1.host:2,S").write_bytes(OLD)
    (root / "cur" / "1.host:2,FS").write_bytes(OLD)
    assert keys(mailbox) == ["cur/1.host:2,FS", "cur/1.host:2,S"]
    with pytest.raises(MessageError, match="more than one file"):
        mailbox.fetch(MessageRef("INBOX", "1.host"))
    mailbox.retire(place(mailbox, [MessageRef("INBOX", "cur/1.host:2,S")]))
    assert sorted(path.read_bytes() for path in (root / "cur").iterdir()) == [NEW, OLD]


def test_two_links_to_one_message_are_one_message(mailbox: Maildir, root: Path) -> None:
    """B76."""
    (root / "cur" / "1.host:2,S").write_bytes(OLD)
    (root / "new" / "1.host").hardlink_to(root / "cur" / "1.host:2,S")
    assert keys(mailbox) == ["1.host"]
    mailbox.retire(place(mailbox, [MessageRef("INBOX", "1.host")]))
    assert [path.read_bytes() for path in root.rglob("*") if path.is_file()] == [NEW]


def test_what_is_no_regular_file_is_passed_over_and_told(mailbox: Maildir, root: Path) -> None:
    """B76."""
    (root / "secret").write_bytes(OLD)
    (root / "cur" / "link:2,S").symlink_to(root / "secret")
    (root / "cur" / "directory:2,S").mkdir()
    (root / "cur" / ".nfs0001").write_bytes(OLD)
    os.mkfifo(root / "new" / "fifo")
    assert keys(mailbox) == []
    told = {skipped.path.rpartition("/")[2]: skipped.reason for skipped in mailbox.skipped}
    assert set(told) == {"link:2,S", "directory:2,S", ".nfs0001", "fifo"}


def test_a_message_that_became_a_link_is_not_followed(mailbox: Maildir, root: Path) -> None:
    path = root / "cur" / "1.host:2,S"
    path.write_bytes(OLD)
    assert keys(mailbox) == ["1.host"]
    path.rename(root / "elsewhere")
    path.symlink_to(root / "elsewhere")
    with pytest.raises(MessageError):
        mailbox.fetch(MessageRef("INBOX", "1.host"))


def test_tmp_is_not_read(mailbox: Maildir, root: Path) -> None:
    (root / "tmp" / "1.host").write_bytes(OLD)
    assert keys(mailbox) == []


def test_a_time_beyond_all_calendars_is_read(mailbox: Maildir, root: Path) -> None:
    (root / "cur" / "1.host").write_bytes(OLD)
    os.utime(root / "cur" / "1.host", ns=(0, -5 * 10**9))
    (listing,) = mailbox.walk("INBOX")
    assert listing.internal_date is not None
    assert listing.internal_date.year == 1969


# --- folders -------------------------------------------------------------------------

FOLDERS = {
    "plain": (".Sent", "Sent"),
    "levels": (".Archive.2014", "Archive/2014"),
    "modified UTF-7": (".Entw&APw-rfe", "Entwürfe"),
    "ampersand": (".R&-D", "R&D"),
    "plain UTF-8": (".Entwürfe", "Entwürfe"),
    "broken base64": (".&AB", "&AB"),
    "slash in disguise": (".&AC8-", "&AC8-"),
    "dots in disguise": (".&AC4ALg-", "&AC4ALg-"),
    "not the shortest": (".&AGEA-", "&AGEA-"),
    "comma run": (".&U,BTFw-", "台北"),
    "lone surrogate": (".&2D0-", "&2D0-"),
    "two dots": (".a..b", "a%2E%2Eb"),
    "dots only": ("...", "%2E%2E"),
    "trailing dot": (".a.", "a."),
    "trailing space": (".a ", "a "),
    "tilde": (".~", "~"),
    "dash": (".-rf", "-rf"),
    "newline": (".a\nb", "a%0Ab"),
    "inbox twin": (".INBOX", "INBOX [.INBOX]"),
    "inbox case twin": (".inbox", "inbox"),
    "nested": ("Sent", "Sent"),
    "nested levels": ("Archive/2014", "Archive/2014"),
    "exchange": ("._xF8FF_", "_xF8FF_"),
}


@pytest.mark.parametrize(("directory", "name"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_found_by_its_decoded_name(
    mailbox: Maildir, root: Path, directory: str, name: str
) -> None:
    make_folder(root / directory, "1.host:2,S")
    assert list(mailbox.folders()) == ["INBOX", name]
    mailbox.retire(place(mailbox, [MessageRef(name, "1.host")]))
    assert [path.read_bytes() for path in (root / directory / "cur").iterdir()] == [NEW]
    assert ".." not in name.split("/")


def test_a_folder_whose_bytes_are_no_text_is_read(mailbox: Maildir, root: Path) -> None:
    make_folder(Path(os.fsdecode(os.fsencode(root) + b"/.caf\xe9")), "1.host:2,S")
    assert list(mailbox.folders()) == ["INBOX", "caf%E9"]
    assert keys(mailbox, "caf%E9") == ["1.host"]


def test_folders_that_decode_alike_are_told_apart(mailbox: Maildir, root: Path) -> None:
    """B75."""
    for number, name in enumerate((".&AOQA5A-", ".&AOQ-&AOQ-", ".ää")):
        make_folder(root / name, f"{number}.host:2,S")
    names = list(mailbox.folders())
    assert len(set(names)) == 4
    assert sorted(keys(mailbox, name)[0] for name in names[1:]) == ["0.host", "1.host", "2.host"]


def test_linked_folders_are_not_followed(mailbox: Maildir, root: Path, tmp_path: Path) -> None:
    """B76."""
    make_folder(tmp_path / "other", "1.host:2,S")
    (root / ".Shared").symlink_to(tmp_path / "other")
    (root / ".Half").mkdir()
    (root / ".Half" / "cur").symlink_to(tmp_path / "other" / "cur")
    assert list(mailbox.folders()) == ["INBOX"]
    assert {skipped.path for skipped in mailbox.skipped} == {".Shared", ".Half/cur"}


def test_links_in_a_circle_end(mailbox: Maildir, root: Path) -> None:
    make_folder(root / "Sent")
    (root / "Sent" / "again").symlink_to(root)
    assert list(mailbox.folders()) == ["INBOX", "Sent"]


def test_a_deep_tree_ends(mailbox: Maildir, root: Path) -> None:
    make_folder(root.joinpath(*["d"] * 200))
    assert list(mailbox.folders()) == ["INBOX"]
    assert [skipped.reason for skipped in mailbox.skipped] == ["more than 32 levels deep"]


def test_a_folder_removed_during_a_walk_is_empty(mailbox: Maildir, root: Path) -> None:
    make_folder(root / ".Gone")
    assert "Gone" in list(mailbox.folders())
    for part in ("cur", "new", "tmp"):
        (root / ".Gone" / part).rmdir()
    (root / ".Gone").rmdir()
    assert keys(mailbox, "Gone") == []


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/../b", "", ".", "cur", "a\0b"])
def test_a_folder_name_from_outside_is_never_a_path(mailbox: Maildir, name: str) -> None:
    """B73."""
    with pytest.raises(MailboxError, match="no folder"):
        list(mailbox.walk(name))


# --- flags, owners, dates -------------------------------------------------------------------


def test_keywords_have_the_names_dovecot_gave_them(mailbox: Maildir, root: Path) -> None:
    (root / "dovecot-keywords").write_text("0 $Forwarded\n1 Work\n")
    (root / "cur" / "1.host:2,FSab").write_bytes(OLD)
    (listing,) = mailbox.walk("INBOX")
    assert listing.flags == Flags(frozenset({"flagged", "seen"}), frozenset({"$Forwarded", "Work"}))


@pytest.mark.parametrize("letters", ["FSab", "Sz", "SXq", "ab"])
def test_no_letter_is_lost(mailbox: Maildir, root: Path, letters: str) -> None:
    (root / "dovecot-keywords").write_text(
        "0 $Forwarded\n1 $Forwarded\n99 x\nrubbish\n25 \x1b[2J\n"
    )
    (root / "cur" / f"1.host:2,{letters}").write_bytes(OLD)
    mailbox.retire(place(mailbox, [MessageRef("INBOX", "1.host")]))
    (path,) = (root / "cur").iterdir()
    assert set(path.name.rpartition(":2,")[2]) == set(letters)


def test_keywords_that_change_during_a_replacement_are_joined(mailbox: Maildir, root: Path) -> None:
    (root / "dovecot-keywords").write_text("0 one\n")
    (root / "cur" / "1.host:2,Sa").write_bytes(OLD)
    staged = write(mailbox, [MessageRef("INBOX", "1.host")])
    (root / "dovecot-keywords").write_text("0 one\n1 two\n")
    (root / "cur" / "1.host:2,Sa").rename(root / "cur" / "1.host:2,Sb")
    mailbox.retire(all_placed(mailbox.place(staged)))
    (path,) = (root / "cur").iterdir()
    assert path.name.endswith(":2,Sb")


def test_a_keywords_file_that_is_a_fifo_does_not_hang(mailbox: Maildir, root: Path) -> None:
    os.mkfifo(root / "dovecot-keywords")
    (root / "cur" / "1.host:2,Sa").write_bytes(OLD)
    (listing,) = mailbox.walk("INBOX")
    assert listing.flags.keywords == {"keyword-a"}


def give_away(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 23456)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_owner_mode_and_time_are_kept_to_the_nanosecond(maildir: World, root: Path) -> None:
    path = root / "cur" / "1.host:2,S"
    path.write_bytes(OLD)
    path.chmod(0o640)
    give_away(root)
    mailbox = Maildir(maildir.specification)
    os.utime(path, ns=(1_300_000_000_123_456_789, 1_300_000_001_987_654_321))
    mailbox.retire(place(mailbox, [MessageRef("INBOX", "1.host")]))
    (after,) = (root / "cur").iterdir()
    status = after.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o640)
    assert status.st_mtime_ns == 1_300_000_001_987_654_321


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_a_missing_tmp_is_made_for_the_owner_of_the_folder(maildir: World, root: Path) -> None:
    ref = maildir.deliver("INBOX", OLD)
    (root / "tmp").rmdir()
    root.chmod(0o750)
    give_away(root)
    mailbox = Maildir(maildir.specification)
    assert mailbox.capabilities.spool_directory is None
    mailbox.retire(place(mailbox, [ref]))
    status = (root / "tmp").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o750)


# --- content ---------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_what_waits_in_a_folder_that_was_renamed_is_removed(
    maildir: World, mailbox: Maildir, root: Path, again: bool
) -> None:
    ref = maildir.deliver("Work", OLD)
    (staged,) = write(mailbox, [ref])
    (root / ".Work").rename(root / ".Office")
    assert len(list((root / ".Office" / "tmp").iterdir())) == 1
    (open_mailbox(maildir.specification) if again else mailbox).abandon([staged.intent])
    assert not list((root / ".Office" / "tmp").iterdir())


def spooled(mailbox: Maildir, raw: bytes = NEW) -> FileContent:
    assert mailbox.capabilities.spool_directory is not None
    path = mailbox.capabilities.spool_directory / "sectool.test.1"
    path.write_bytes(raw)
    return FileContent(path)


def test_a_spooled_file_is_taken_over(maildir: World, mailbox: Maildir, root: Path) -> None:
    ref = maildir.deliver("Sent", OLD)
    content = spooled(mailbox)
    inode = content.path.stat().st_ino
    (intent,) = intend(mailbox, [ref])
    (staged,) = mailbox.write([(intent, content)])
    assert isinstance(staged, Written)
    mailbox.retire(all_placed(mailbox.place([staged])))
    assert not content.path.exists()
    (after,) = root.glob(f".Sent/cur/{intent.where}*")
    assert after.stat().st_ino == inode
    assert [seen.date for seen in maildir.seen()] == [DATE]


def test_a_linked_spool_file_is_copied(maildir: World, mailbox: Maildir, root: Path) -> None:
    ref = maildir.deliver("INBOX", OLD)
    content = spooled(mailbox)
    (root / "precious").hardlink_to(content.path)
    (intent,) = intend(mailbox, [ref])
    mailbox.write([(intent, content)])
    assert content.path.exists()
    assert (root / "precious").stat().st_nlink == 2


def test_a_file_elsewhere_is_left_where_it_is(
    maildir: World, mailbox: Maildir, tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"..." + NEW)
    (intent,) = intend(mailbox, [maildir.deliver("INBOX", OLD)])
    (staged,) = mailbox.write([(intent, FileContent(path, offset=3))])
    assert isinstance(staged, Written)
    mailbox.retire(all_placed(mailbox.place([staged])))
    assert path.exists()
    assert [seen.raw for seen in maildir.seen()] == [NEW]


def test_new_bytes_that_are_gone_cost_one_message(maildir: World, mailbox: Maildir) -> None:
    (intent,) = intend(mailbox, [maildir.deliver("INBOX", OLD)])
    content = spooled(mailbox)
    content.path.unlink()
    (answer,) = mailbox.write([(intent, content)])
    assert isinstance(answer, MessageError)


def test_a_large_message_is_found_again_after_it_was_flagged(
    maildir: World, mailbox: Maildir
) -> None:
    raw = OLD + b"x" * IN_MEMORY
    ref = maildir.deliver("INBOX", raw)
    content = mailbox.fetch(ref).content
    maildir.set_flags(ref, Flags(frozenset({"answered"})))
    with content.open() as stream:
        assert stream.read() == raw
    maildir.remove(ref)
    with pytest.raises(MessageVanished):
        content.open()


def test_reading_changes_no_time_of_any_directory(maildir: World, root: Path) -> None:
    maildir.deliver("Sent", OLD)
    (root / "new" / "1.host").write_bytes(OLD)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    mailbox = Maildir(maildir.specification)
    for folder in mailbox.folders():
        for listing in mailbox.walk(folder):
            mailbox.fetch(listing.ref)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


# --- the whole ---------------------------------------------------------------------------------


def test_a_second_run_is_locked_out_and_delivery_is_not(mailbox: Maildir, maildir: World) -> None:
    with mailbox.lock():
        with pytest.raises(Locked), Maildir(maildir.specification).lock():
            pass
        maildir.deliver("INBOX", OLD)
    with Maildir(maildir.specification).lock():
        pass


def test_another_path_to_the_mailbox_leads_to_the_same_lock(
    mailbox: Maildir, root: Path, tmp_path: Path, maildir_at: Callable[[Path], World]
) -> None:
    (tmp_path / "other-name").symlink_to(root)
    linked = Maildir(MailboxSpecification("maildir", str(tmp_path / "other-name")))
    other = open_mailbox(maildir_at(tmp_path / "third").specification)
    with mailbox.lock(), other.lock(), pytest.raises(Locked), linked.lock():
        pass


def test_a_maildir_that_is_gone_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NoSuchMailbox):
        open_mailbox(MailboxSpecification("maildir", str(tmp_path / "none")))


# --- folders that are made --------------------------------------------------------------


def add_to(root: Path, folder: str) -> list[Written | MessageError]:
    mailbox = open_mailbox(MailboxSpecification("maildir", str(root)))
    (intent,) = mailbox.intend([Add(folder, BytesContent(NEW), DATE)])
    return mailbox.write([(intent, BytesContent(NEW))])


def test_a_folder_is_made_as_maildir_plus_plus_has_it(root: Path) -> None:
    add_to(root, "Recovered")
    made = {path.name for path in (root / ".Recovered").iterdir()}
    assert made == {"cur", "new", "tmp", "maildirfolder"}


def test_a_folder_is_made_beside_nested_ones(root: Path) -> None:
    make_folder(root / "Work" / "Old")
    add_to(root, "Recovered")
    assert {path.name for path in (root / "Recovered").iterdir()} == {"cur", "new", "tmp"}


def test_a_folder_that_is_made_is_as_open_as_the_mailbox(root: Path) -> None:
    root.chmod(0o2770)
    add_to(root, "Recovered")
    folder = root / ".Recovered"
    (message,) = (folder / "tmp").iterdir()
    assert [path.stat().st_mode & 0o7777 for path in (folder, folder / "cur")] == [0o2770] * 2
    assert (message.stat().st_mode & 0o777, message.stat().st_mtime) == (0o660, DATE.timestamp())


def test_no_folder_is_made_through_a_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".Recovered").symlink_to(outside)
    with pytest.raises(MailboxError, match="not a folder"):
        add_to(root, "Recovered")
    assert list(outside.iterdir()) == []


def test_nothing_is_staged_through_a_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    make_folder(root / ".Sent")
    (root / ".Sent" / "tmp").rmdir()
    (root / ".Sent" / "tmp").symlink_to(outside)
    (answer,) = add_to(root, "Sent")
    assert isinstance(answer, MessageError)
    assert list(outside.iterdir()) == []


def test_of_many_folders_few_are_open_at_a_time(maildir: World, mailbox: Maildir) -> None:
    refs = [maildir.deliver(f"F{number}", OLD) for number in range(150)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    placed = [copy for ref in refs for copy in place(mailbox, [ref])]
    for copy in placed:
        mailbox.retire([copy])
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= OPEN_LIMIT
    assert [seen.raw for seen in maildir.seen()] == [NEW] * 150
    mailbox.close()


def test_any_number_of_new_copies_is_found_with_few_descriptors(maildir: World) -> None:
    mailbox = open_mailbox(maildir.specification)
    refs = [maildir.deliver("INBOX", OLD) for _ in range(3 * OPEN_FILES)]
    placed = [
        copy
        for start in range(0, len(refs), 32)
        for copy in place(mailbox, refs[start : start + 32])
    ]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len([*Path("/proc/self/fd").iterdir()])
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + OPEN_FILES + 32, limits[1]))
    try:
        found = mailbox.find([copy.written.intent for copy in placed])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [len(where.copies) for where in found] == [1] * len(refs)
