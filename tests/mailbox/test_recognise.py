"""What a person typed is recognised, or refused with what was found instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool.errors import NoSuchMailbox
from sectool.mailbox import MailboxSpecification, open_mailbox, recognise
from sectool.mailbox.maildir import Maildir
from tests.support.mailbox_contract import World


def tree(root: Path, *names: str) -> Path:
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize("form", ["{}", "maildir:{}", "MAILDIR:{}", "{}/", "{}/cur/.."])
def test_a_maildir_is_recognised(maildir: World, form: str) -> None:
    location = maildir.specification.location
    assert recognise(form.format(location)) == MailboxSpecification("maildir", location)


def test_a_relative_path_becomes_absolute(maildir: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(maildir.specification.location)
    monkeypatch.chdir(path.parent)
    assert recognise(path.name).location == str(path)


def test_a_maildir_without_tmp_is_recognised(maildir: World) -> None:
    path = Path(maildir.specification.location)
    (path / "tmp").rmdir()
    assert isinstance(open_mailbox(recognise(str(path))), Maildir)


def test_the_url_of_a_specification_is_recognised_again(maildir: World) -> None:
    specification = recognise(maildir.specification.location)
    assert recognise(specification.url) == specification


@pytest.mark.parametrize("location", ["mbox:/var/mail/alice", "eml:/x"])
def test_kinds_of_other_versions_are_named(location: str) -> None:
    with pytest.raises(NoSuchMailbox, match="not supported by this version") as caught:
        recognise(location)
    assert caught.value.exit_code == 10
    assert caught.value.hint


FOUND: dict[str, tuple[tuple[str, ...], str, str]] = {
    "nothing in it": (("here/",), "without cur and new", "name the directory"),
    "half": (("here/cur/",), "without cur or without new", "make the missing"),
    "home": (("here/Maildir/cur/", "here/Maildir/new/"), "holds one", "here/Maildir"),
    "eml": (("here/1.EML",), "folder of .eml", "copy"),
    "dbox": (("here/dbox-Mails/u.1",), "dbox", "copy"),
    "sdbox": (("here/mailboxes/INBOX/dbox-Mails/u.1",), "sdbox", "copy"),
    "mdbox": (("here/mailboxes/", "here/storage/m.1"), "mdbox", "copy"),
    "inside mdbox": (("here/m.1",), "without cur and new", "name"),
}


@pytest.mark.parametrize(("names", "what", "hint"), FOUND.values(), ids=FOUND)
def test_a_directory_that_is_something_else_is_described(
    tmp_path: Path, names: tuple[str, ...], what: str, hint: str
) -> None:
    with pytest.raises(NoSuchMailbox, match=what) as caught:
        recognise(str(tree(tmp_path, *names) / "here"))
    assert hint in caught.value.hint


def test_a_part_of_a_maildir_names_the_whole(maildir: World) -> None:
    with pytest.raises(NoSuchMailbox, match="a part of one") as caught:
        recognise(f"{maildir.specification.location}/cur")
    assert maildir.specification.location in caught.value.hint


def test_a_linked_cur_is_refused(tmp_path: Path, maildir: World) -> None:
    root = tree(tmp_path / "here", "new/")
    (root / "cur").symlink_to(Path(maildir.specification.location) / "cur")
    with pytest.raises(NoSuchMailbox, match="is a link"):
        recognise(str(root))


@pytest.mark.parametrize(
    ("start", "what"), [(b"From alice Fri\n", "an mbox file"), (b"Subject: x\n", "a file")]
)
def test_a_file_is_described(tmp_path: Path, start: bytes, what: str) -> None:
    (tmp_path / "mail").write_bytes(start)
    with pytest.raises(NoSuchMailbox, match=what):
        recognise(str(tmp_path / "mail"))


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NoSuchMailbox, match="no directory"):
        recognise(str(tmp_path / "fifo"))


@pytest.mark.parametrize(
    "location",
    ["", "/does/not/exist", "a\0b", "x" * 5000, "\udcff", "maildir:", "~", "/dev/null/x"],
)
def test_what_is_not_there_is_no_mailbox(location: str) -> None:
    with pytest.raises(NoSuchMailbox) as caught:
        recognise(location)
    assert caught.value.hint


def test_links_in_a_circle_are_no_mailbox(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(NoSuchMailbox):
        recognise(str(tmp_path / "a"))


@pytest.mark.parametrize("kind", ["mbox", "", "Maildir", "memory"])
def test_an_unknown_kind_is_not_opened(tmp_path: Path, kind: str) -> None:
    with pytest.raises(NoSuchMailbox):
        open_mailbox(MailboxSpecification(kind, str(tmp_path)))


def test_a_maildir_through_a_link_is_the_same_mailbox(
    tmp_path: Path, maildir_at: Callable[[Path], World]
) -> None:
    world = maildir_at(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert recognise(str(tmp_path / "link")) == world.specification


def test_a_directory_of_several_peoples_maildirs_is_told_with_one_to_name(tmp_path: Path) -> None:
    for person in ("alice", "bob"):
        for part in ("cur", "new", "tmp"):
            (tmp_path / person / "Maildir" / part).mkdir(parents=True)
    with pytest.raises(NoSuchMailbox, match="2 people's Maildirs") as caught:
        recognise(str(tmp_path))
    assert str(tmp_path / "alice" / "Maildir") in caught.value.hint


@pytest.mark.parametrize(
    ("file", "kind"), [("prefs.js", "a Thunderbird profile"), (".mh_sequences", "an MH folder")]
)
def test_other_kinds_of_mailbox_are_told_by_name(file: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()
    with pytest.raises(NoSuchMailbox, match=kind):
        recognise(str(tmp_path))
