"""A quick look counts what begins as an encrypted message, by one reading of each head."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.outcome import State
from tests.support.faults import Fault, FaultyProcess
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.one_file import KINDS
from tests.support.one_file_world import fill_one_file
from tests.support.specifications import Specify

STRANGER = 65534


@pytest.fixture
def mail(sample: list[Mail], keys: Keys) -> list[Mail]:
    """The sample, with a message that is longer than a head."""
    large = b"Content-Type: text/plain\n\n" + b"a line of some length\n" * 3000
    raw = encrypted(9, keys.old, inner=large)
    assert len(raw) > 2 * smime.GLANCE_SIZE
    return [*sample, Mail("", "cur/1300000009.M9P1.host:2,S", raw)]


@pytest.fixture
def mailbox(mail: list[Mail], tmp_path: Path) -> Path:
    fill(tmp_path / "Maildir", mail)
    return tmp_path / "Maildir"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["maildir", *KINDS])
def test_it_counts_what_is_surely_encrypted_as_a_scan_does_and_nothing_else(
    mailbox: Path, tmp_path: Path, kind: str, workers: int, specify: Specify
) -> None:
    place = str(mailbox)
    if kind != "maildir":
        fill_one_file(tmp_path / "one", kind, mailbox)
        place = f"{kind}:{tmp_path / 'one'}"
    quick = jobs.run(specify("quick-scan", place, workers=workers))
    scan = jobs.run(specify("scan", place))
    # One message is clear, and one cut off.
    assert quick.counts == {State.ENCRYPTED: 7, State.NOT_READ: 2}
    assert scan.counts[State.READABLE] + scan.counts[State.MISSING_KEY] == 7
    assert (quick.messages, quick.bytes) == (scan.messages, scan.bytes)
    assert quick.folders == scan.folders
    assert quick.content_encryption_algorithms == scan.content_encryption_algorithms
    assert (quick.keys, quick.keys_in_history) == (scan.keys, scan.keys_in_history)
    assert quick.keys_in_history
    assert not quick.not_done


def test_without_keys_no_recipient_is_held(mailbox: Path, specify: Specify) -> None:
    summary = jobs.run(specify("quick-scan", mailbox, keys=None))
    assert summary.counts == {State.ENCRYPTED: 7, State.NOT_READ: 2}
    assert len(summary.keys) == 2
    assert not summary.keys_in_history


def test_what_is_not_selected_is_not_looked_at(mailbox: Path, specify: Specify) -> None:
    selection = jobs.Selection(folder="Sent")
    summary = jobs.run(specify("quick-scan", mailbox, selection=selection))
    assert summary.counts == {State.ENCRYPTED: 2, State.NOT_SELECTED: 7, State.NOT_READ: 0}
    assert summary.messages == 9


def test_each_stored_copy_is_opened_once_and_its_head_is_read_once(
    mailbox: Path, mail: list[Mail], tmp_path: Path, faulty: FaultyProcess
) -> None:
    words = ("scan", "--quick", mailbox, "--workers", "0")
    seen = faulty.command(words, tmp_path, fault=Fault(act="", under=(mailbox,)))
    assert seen.code == 0, seen.err
    stored = {(mailbox / each.folder / each.name).resolve() for each in mail}
    for kind in ("open", "read"):
        of_kind = [Path(call.path) for call in seen.met if call.kind == kind]
        assert Counter(path for path in of_kind if path in stored) == Counter(stored), kind


@dataclass
class Removing:
    """Removes a file while the mailbox is listed."""

    path: Path
    left: int = 4

    def check(self) -> None:
        self.left -= 1
        if not self.left:
            self.path.unlink()


def test_a_message_that_goes_before_it_is_read_is_not_counted(
    mailbox: Path, specify: Specify
) -> None:
    going = Removing(mailbox / "cur" / "1300000001.M1P1.host,S=900:2,S")
    summary = jobs.run(specify("quick-scan", mailbox), cancel=going)
    assert not going.path.exists()
    assert summary.messages == summary.counts.total() == summary.folders.total() == 8


def test_a_message_whose_flags_change_before_it_is_read_is_counted_once(
    mailbox: Path, specify: Specify
) -> None:
    path = mailbox / "new" / "1300000003.M3P1.host"

    class Moving(Removing):
        def check(self) -> None:
            self.left -= 1
            if not self.left:
                path.rename(mailbox / "cur" / f"{path.name}:2,S")

    summary = jobs.run(specify("quick-scan", mailbox), cancel=Moving(path))
    assert not path.exists()
    assert summary.counts == {State.ENCRYPTED: 7, State.NOT_READ: 2}


def test_what_cannot_be_read_is_not_read(
    mailbox: Path, mail: list[Mail], tmp_path: Path, faulty: FaultyProcess
) -> None:
    at = mailbox / mail[0].name
    for calls in ("open", "read"):
        fault = Fault((calls,), error="EIO", last=1000, at=at)
        words = ("scan", "--quick", mailbox, "--workers", "0", "--json")
        seen = faulty.command(words, tmp_path, fault=fault)
        assert (seen.code, bool(seen.met)) == (0, True), seen.err
        assert '"counts": {"encrypted": 6, "not-read": 3}' in seen.out


@pytest.mark.rights
@pytest.mark.skipif(os.geteuid() != 0, reason="another user's mail needs root")
@pytest.mark.parametrize("what", ["link", "second name", "another's"])
def test_root_looks_at_no_head_of_another_users(
    mailbox: Path, mail: list[Mail], what: str, tmp_path: Path, specify: Specify
) -> None:
    secret, place = tmp_path / "secret", mailbox / mail[0].name
    place.rename(secret)
    if what == "link":
        place.symlink_to(secret)
    else:
        os.chown(secret, STRANGER, STRANGER)
        (os.link if what == "second name" else os.rename)(secret, place)
    summary = jobs.run(specify("quick-scan", mailbox))
    assert summary.counts[State.ENCRYPTED] == 6
    assert summary.counts[State.NOT_READ] == (2 if what == "link" else 3)


def test_a_group_of_messages_whose_worker_dies_is_not_read(
    mailbox: Path, mail: list[Mail], tmp_path: Path, faulty: FaultyProcess
) -> None:
    fault = Fault(("read",), act="kill", at=mailbox / mail[0].name)
    words = ("scan", "--quick", mailbox, "--workers", "1", "--json")
    seen = faulty.command(words, tmp_path, fault=fault, in_workers=True)
    assert seen.code == 0, seen.err
    # INBOX has seven messages, and Sent two, both encrypted.
    assert '"counts": {"encrypted": 2, "not-read": 7}' in seen.out
    assert '"folders": {"INBOX": 7, "Sent": 2}' in seen.out
