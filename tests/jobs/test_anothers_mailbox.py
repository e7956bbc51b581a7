"""Root moves the mail of somebody else: theirs alone, and they see nothing of the job."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sectool import jobs
from sectool.errors import MessageError, UnsafeDirectory
from sectool.keys import KeySpecification
from sectool.mailbox import Add, MailboxSpecification, Written, open_mailbox, recognise
from sectool.message import BytesContent
from sectool.outcome import State
from sectool.retirement import Answer
from tests.support.mailboxes import Keys
from tests.support.specifications import Specify

pytestmark = [
    pytest.mark.rights,
    pytest.mark.skipif(os.geteuid() != 0, reason="another user's mailbox needs root"),
]

OWNER, STRANGER = 12345, 65534
THEIRS = "1300000001.M1P1.host,S=900:2,S"


@pytest.fixture
def mailbox(maildir: Path) -> Path:
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, OWNER, OWNER)
    return maildir


@pytest.mark.parametrize("what", ["cur/" + THEIRS, ".Sent", ".Sent/cur"])
def test_what_is_another_users_than_the_mailbox_is_left_and_counted(
    mailbox: Path, what: str, specify: Specify, keys: Keys
) -> None:
    left = mailbox / what
    before = {path: path.read_bytes() for path in [left, *left.rglob("*")] if path.is_file()}
    os.chown(left, STRANGER, STRANGER)
    for operation in ("decrypt", "encrypt"):
        summary = jobs.run(specify(operation, mailbox))
        told = [each for each in summary.not_done if f"chown -h {OWNER} {left}" in each.reason]
        assert len(told) == len(before) or what != "cur/" + THEIRS
        assert summary.exit_code == 3
        assert summary.counts[State.FAILED] >= len(told) > 0
    assert {path: path.read_bytes() for path in before} == before
    retire = KeySpecification((keys.history,))
    answers = jobs.run(specify("verify", mailbox, retire=retire)).retire
    assert answers is not None
    assert {answer.answer for answer in answers} != {Answer.NOT_NEEDED}

    os.chown(left, OWNER, OWNER)
    jobs.run(specify("decrypt", mailbox))
    assert jobs.run(specify("encrypt", mailbox)).counts.get(State.FAILED, 0) == 0


@pytest.mark.parametrize("what", [".Recovered", ".Recovered/tmp", ".Recovered/cur"])
def test_root_adds_no_message_to_a_folder_of_another_user(mailbox: Path, what: str) -> None:
    for part in ("cur", "new", "tmp"):
        (mailbox / ".Recovered" / part).mkdir(parents=True)
    for path in (mailbox / ".Recovered", *(mailbox / ".Recovered").iterdir()):
        os.chown(path, OWNER, OWNER)
    os.chown(mailbox / what, STRANGER, STRANGER)
    store = open_mailbox(MailboxSpecification("maildir", str(mailbox)))
    content = BytesContent(b"Subject: x\n\nx\n")
    (intent,) = store.intend([Add("Recovered", content, datetime(2011, 3, 4, tzinfo=UTC))])
    answers = [answer for answer in store.write([(intent, content)]) if isinstance(answer, Written)]
    (placed,) = store.place(answers) if what.endswith("cur") else [MessageError("not written")]
    assert isinstance(placed, MessageError)
    store.abandon([intent])
    assert [path for path in (mailbox / ".Recovered").rglob("*") if path.is_file()] == []


def test_a_second_name_of_anothers_file_is_left_without_a_command(
    mailbox: Path, tmp_path: Path, specify: Specify
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((mailbox / "cur" / THEIRS).read_bytes())
    (mailbox / "cur" / THEIRS).unlink()
    (mailbox / "cur" / THEIRS).hardlink_to(secret)
    summary = jobs.run(specify("decrypt", mailbox))
    (reason,) = [each.reason for each in summary.not_done if THEIRS.partition(":")[0] in each.ref]
    assert "another name" in reason
    assert "chown" not in reason


@pytest.mark.parametrize("in_place", [False, True])
def test_the_owner_of_the_mailbox_can_read_nothing_of_the_job(
    mailbox: Path, tmp_path: Path, in_place: bool, specify: Specify
) -> None:
    jobs.run(specify("decrypt", mailbox, in_place=in_place))
    mail = {path.stat().st_ino for path in mailbox.rglob("*")}
    jobs.run(specify("encrypt", mailbox))
    mail |= {path.stat().st_ino for path in mailbox.rglob("*")}
    kept = [tmp_path / "job", *(tmp_path / "job").rglob("*")]
    assert len([path for path in kept if path.parent.name == "originals"]) >= 4
    for path in kept:
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o077) == (0, 0), path
        # What they opened before has no other name in the job.
        assert status.st_ino not in mail or path.is_dir()
    assert {path.stat().st_uid for path in mailbox.rglob("*")} == {OWNER}


@pytest.mark.parametrize("depth", [0, 1])
def test_a_link_of_the_owners_on_the_way_is_refused_with_what_it_leads_to(
    mailbox: Path, tmp_path: Path, depth: int
) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    link = home / "mail"
    link.symlink_to(mailbox if depth == 0 else mailbox.parent)
    os.lchown(link, OWNER, OWNER)
    os.chown(home, OWNER, OWNER)
    named = link if depth == 0 else link / mailbox.name
    with pytest.raises(UnsafeDirectory, match="link") as refused:
        recognise(str(named))
    assert str(mailbox) in refused.value.hint
    assert "\n" not in refused.value.message + refused.value.hint

    os.chown(home, 0, 0)  # but the link is theirs still
    with pytest.raises(UnsafeDirectory, match="link"):
        recognise(str(named))
    os.lchown(link, 0, 0)
    assert recognise(str(named)).location == str(mailbox)
    home.chmod(0o777)
    with pytest.raises(UnsafeDirectory, match="link"):
        recognise(str(named))
    home.chmod(0o1777)
    assert recognise(str(named)).location == str(mailbox)


def test_a_path_that_is_a_link_by_now_is_refused_in_every_process(
    mailbox: Path, tmp_path: Path, specify: Specify
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mailbox = mailbox.rename(home / "Maildir")
    os.chown(home, OWNER, OWNER)
    specification = specify("decrypt", mailbox)
    jobs.run(specification)
    mailbox.rename(home / "aside")
    mailbox.symlink_to(home / "aside")
    with pytest.raises(UnsafeDirectory, match="link"):
        open_mailbox(MailboxSpecification("maildir", str(mailbox)))
    with pytest.raises(UnsafeDirectory, match="link"):
        jobs.run(specification)


def test_a_link_of_ones_own_is_followed() -> None:
    with TemporaryDirectory() as name:
        place = Path(name)
        for path in (place / "Maildir/cur", place / "Maildir/new"):
            path.mkdir(parents=True)
        (place / "link").symlink_to("Maildir")
        place.chmod(0o755)
        for path in (place, *place.rglob("*")):
            os.lchown(path, OWNER, OWNER)
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setgid(OWNER)
                os.setuid(OWNER)
                os._exit(recognise(str(place / "link")).location != str(place / "Maildir"))
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
