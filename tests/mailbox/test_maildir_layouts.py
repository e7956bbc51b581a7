"""A Maildir is one mailbox, however its folders are laid out."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool.errors import MailboxError, ReadOnlyMailbox
from sectool.mailbox import Mailbox, Placed, open_mailbox, recognise
from sectool.mailbox.files import folders as limits
from sectool.mailbox.files.folders import DEPTH_LIMIT
from sectool.message import MessageRef
from tests.support.mailbox_contract import NEW, OLD, World, add, place, write


def make_folder(directory: Path, *messages: str) -> None:
    for part in ("cur", "new", "tmp"):
        (directory / part).mkdir(parents=True)
    for name in messages:
        (directory / "cur" / name).write_bytes(OLD)


def walked(mailbox: Mailbox) -> list[MessageRef]:
    return [listing.ref for folder in mailbox.folders() for listing in mailbox.walk(folder)]


LAYOUTS = {
    "Maildir++": (["", ".A", ".A.B"], ["INBOX", "A", "A/B"]),
    "nested below the inbox": (["", "A", "A/B"], ["INBOX", "A", "A/B"]),
    "nested": (["INBOX", "A", "A/B"], ["INBOX", "A", "A/B"]),
    "nested below a directory": (["INBOX", "A/B"], ["INBOX", "A/B"]),
    "nested with a further level in the inbox": (["Inbox", "Inbox/B"], ["INBOX", "INBOX/B"]),
    "Legacy": (["INBOX", "A", "A/.B", "A/.B/.C.D"], ["INBOX", "A", "A/B", "A/B/C.D"]),
    "Legacy below the inbox": (["", ".A", ".A/.B"], ["INBOX", "A", "A/B"]),
    "Maildir++ in a directory": (["INBOX", "INBOX/.A.B", "A"], ["INBOX", "INBOX/A/B", "A"]),
    "KMail": (
        ["inbox", "A", ".A.directory/B", ".A.directory/.B.directory/C", ".inbox.directory/D"],
        ["INBOX", "INBOX/D", "A", "A/B", "A/B/C"],
    ),
    "KMail below the inbox": (["", "A", ".A.directory/B"], ["INBOX", "A", "A/B"]),
    "a folder of KMail's ending": (["", ".x.directory"], ["INBOX", "x/directory"]),
    "mixed": (
        ["", ".Sub/Deep", "Plain/.Sub", ".a/b/.c/d"],
        ["INBOX", "Sub/Deep", "Plain/Sub", "a/b/c/d"],
    ),
    "two inboxes": (["", "INBOX"], ["INBOX", "INBOX [INBOX]"]),
}


@pytest.mark.parametrize(("directories", "names"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_is_one_mailbox(
    tmp_path: Path, directories: list[str], names: list[str]
) -> None:
    root = tmp_path / "mail"
    for number, directory in enumerate(directories):
        make_folder(root / directory, f"{number}.host:2,S")
    (root / directories[0] / "cur" / "dovecot.index").mkdir()
    (root / "dovecot.index.log").touch()
    (root / ".notmuch" / "xapian").mkdir(parents=True)
    mailbox = open_mailbox(recognise(str(root)))
    folders = list(mailbox.folders())
    assert folders[0] == "INBOX"
    assert sorted(folders) == sorted(names)
    for ref in walked(mailbox):
        (answer,) = mailbox.retire(place(mailbox, [ref]))
        assert isinstance(answer, Placed)
    for directory in directories:
        assert [path.read_bytes() for path in (root / directory / "cur").glob("*S")] == [NEW]
    assert [path for path in mailbox.passed_over if "dovecot.index" not in path] == []


@pytest.mark.parametrize(
    ("directories", "made"),
    [
        (["INBOX", "A"], "Recovered"),
        (["", "A"], "Recovered"),
        (["", ".A"], ".Recovered"),
        ([""], ".Recovered"),
        (["inbox", "A", ".A.directory/B"], "Recovered"),
    ],
)
def test_a_new_folder_is_made_in_the_layout_there_is(
    tmp_path: Path, directories: list[str], made: str
) -> None:
    root = tmp_path / "mail"
    for directory in directories:
        make_folder(root / directory)
    mailbox = open_mailbox(recognise(str(root)))
    mailbox.place(add(mailbox, "Recovered"))
    assert [path.name for path in sorted((root / made).iterdir()) if path.is_dir()] == [
        "cur",
        "new",
        "tmp",
    ]
    assert "Recovered" in open_mailbox(mailbox.specification).folders()


@pytest.mark.parametrize(
    "directories",
    [["cur", "tmp"], ["Inbox/cur", "Inbox/tmp", "Inbox.sbd/Old/cur", "Inbox.sbd/Old/tmp"]],
    ids=["a folder", "an account"],
)
def test_thunderbirds_maildir_is_read_and_not_written(
    tmp_path: Path, directories: list[str]
) -> None:
    root = tmp_path / "mail"
    for directory in directories:
        (root / directory).mkdir(parents=True)
    (root / directories[0] / "1.eml").write_bytes(OLD)
    mailbox = open_mailbox(recognise(str(root)))
    assert list(mailbox.folders()) == ["INBOX", "INBOX/Old"][: len(directories) // 2]
    (ref,) = walked(mailbox)
    with pytest.raises(ReadOnlyMailbox, match="Thunderbird") as caught:
        write(mailbox, [ref])
    assert ".mbox" in caught.value.hint


def test_neither_a_depth_nor_a_number_of_directories_is_without_a_bound(
    maildir: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(maildir.specification.location)
    deep = root.joinpath(*"d" * (DEPTH_LIMIT + 2))
    make_folder(deep, "1.host:2,S")
    mailbox = open_mailbox(recognise(str(root)))
    assert list(mailbox.folders()) == ["INBOX"]
    assert [told.count("d") for told in mailbox.passed_over] == [DEPTH_LIMIT]
    monkeypatch.setattr(limits, "FOLDER_LIMIT", DEPTH_LIMIT - 1)
    with pytest.raises(MailboxError, match="more than"):
        list(mailbox.folders())
