"""What a person typed is recognised, or refused with what was found instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool.errors import NoSuchMailbox
from sectool.mailbox import MailboxSpecification, open_mailbox, recognise
from sectool.mailbox.eml import layout
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


@pytest.mark.parametrize("location", ["msg:/x", "PST:/x"])
def test_kinds_of_other_versions_are_named(location: str) -> None:
    with pytest.raises(NoSuchMailbox, match="not supported by this version") as caught:
        recognise(location)
    assert caught.value.exit_code == 10
    assert caught.value.hint


FOUND: dict[str, tuple[tuple[str, ...], str, str]] = {
    "nothing in it": (("here/",), "without cur and new", "name the directory"),
    "half": (("here/cur/",), "without cur or without new", "make the missing"),
    "home": (("here/Maildir/cur/", "here/Maildir/new/"), "holds one", "here/Maildir"),
    "subscriptions alone": (("here/subscriptions",), "without cur and new", "name"),
    "msg": (("here/1.MSG",), "of Outlook", "msgconvert"),
    "pst": (("here/1.pst",), "of Outlook", "readpst"),
    "Maildirs": (
        ("here/a/cur/", "here/a/new/", "here/b/cur/", "here/b/tmp/"),
        "Maildirs",
        "maildir:",
    ),
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
    ("start", "what"), [(b"From alice Fri\n", "no mbox"), (b"Subject: x\n", "a file")]
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


@pytest.mark.parametrize("kind", ["", "Maildir", "memory"])
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


KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "eml": (("here/1.EML",), "eml"),
    "eml below": (("here/a/b/1.eml", "here/a/x.txt"), "eml"),
    "emlx": (("here/INBOX.mbox/Messages/1.emlx",), "emlx"),
    "Thunderbird's Maildir": (("here/cur/1.eml", "here/tmp/"), "maildir"),
    "nested": (("here/INBOX/cur/", "here/INBOX/new/"), "maildir"),
    "nested of Dovecot": (("here/a/cur/", "here/a/new/", "here/subscriptions"), "maildir"),
}


@pytest.mark.parametrize(("names", "kind"), KINDS.values(), ids=KINDS)
def test_a_mailbox_is_recognised_by_what_lies_there(
    tmp_path: Path, names: tuple[str, ...], kind: str
) -> None:
    here = str(tree(tmp_path, *names) / "here")
    assert recognise(here) == recognise(f"{kind}:{here}") == MailboxSpecification(kind, here)


TWO_THINGS: dict[str, tuple[tuple[str, ...], tuple[str, str]]] = {
    "beside cur": (("here/cur/", "here/new/", "here/1.eml"), ("maildir", "eml")),
    "beside nested folders": (
        ("here/INBOX/cur/", "here/INBOX/tmp/", "here/1.eml"),
        ("maildir", "eml"),
    ),
    "a home": (
        ("here/Documents/1.eml", "here/Maildir/cur/", "here/Maildir/new/"),
        ("maildir", "eml"),
    ),
    "eml and emlx": (("here/1.eml", "here/1.emlx"), ("eml", "emlx")),
}


@pytest.mark.parametrize(("names", "kinds"), TWO_THINGS.values(), ids=TWO_THINGS)
def test_what_could_be_two_things_is_refused_with_both_ways_to_say_it(
    tmp_path: Path, names: tuple[str, ...], kinds: tuple[str, str]
) -> None:
    here = str(tree(tmp_path, *names) / "here")
    with pytest.raises(NoSuchMailbox, match="could be a mailbox of 2 kinds") as caught:
        recognise(here)
    for kind in kinds:
        assert f"{kind}:{here}" in caught.value.hint
        assert open_mailbox(recognise(f"{kind}:{here}")).specification.kind == kind


@pytest.mark.parametrize(
    ("said", "names", "what"),
    [
        ("eml", ("here/cur/", "here/new/"), "one of the kind maildir"),
        ("emlx", ("here/1.eml",), "one of the kind eml"),
        ("maildir", ("here/1.eml",), "one of the kind eml"),
        ("eml", ("here/",), "without .eml files"),
        ("eml", ("here/1.emlx",), "one of the kind emlx"),
    ],
)
def test_a_kind_that_is_said_and_is_not_there_is_refused(
    tmp_path: Path, said: str, names: tuple[str, ...], what: str
) -> None:
    with pytest.raises(NoSuchMailbox, match=what) as caught:
        recognise(f"{said}:{tree(tmp_path, *names)}/here")
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["", "eml:", "maildir:"])
def test_where_the_messages_of_a_folder_lie_is_no_mailbox(tmp_path: Path, kind: str) -> None:
    tree(tmp_path, "here/cur/1.eml", "here/tmp/")
    with pytest.raises(NoSuchMailbox, match="a part of one") as caught:
        recognise(f"{kind}{tmp_path}/here/cur")
    assert f"name {tmp_path}/here" in caught.value.hint


def test_one_message_is_no_mailbox(tmp_path: Path) -> None:
    with pytest.raises(NoSuchMailbox, match="one message") as caught:
        recognise(str(tree(tmp_path, "here/1.eml") / "here" / "1.eml"))
    assert f"{tmp_path}/here" in caught.value.hint


def test_an_eml_file_far_below_is_found_where_the_kind_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "here/z/1.eml", *(f"here/{number}.txt" for number in range(20)))
    monkeypatch.setattr(layout, "ENTRIES_LOOKED_AT", 20)
    with pytest.raises(NoSuchMailbox):
        recognise(str(tmp_path / "here"))
    assert recognise(f"eml:{tmp_path}/here").kind == "eml"


@pytest.mark.parametrize("prefix", ["", "mbox:", "MBOX:"])
@pytest.mark.parametrize("is_tree", [False, True])
def test_an_mbox_is_told_by_what_it_begins_with_and_by_its_name(
    tmp_path: Path, prefix: str, is_tree: bool
) -> None:
    box = tmp_path / "Inbox"
    box.write_bytes(b"From alice Fri Mar  4 05:06:07 2011\nSubject: x\n\n")
    path = tmp_path if is_tree else box
    assert recognise(f"{prefix}{path}") == MailboxSpecification("mbox", str(path))
