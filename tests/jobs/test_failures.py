"""--max-failures: a folder in which too much fails is left, the others are done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.checker import Key
from tests.support.mailboxes import NO_AUTHORITY, Keys, Mail, Specify, encrypted, fill, openssl


def whole(folder: str, count: int, raw: bytes) -> list[Mail]:
    """So many messages that open; the first of their folder."""
    return [
        Mail(folder, f"cur/1400000{n:03}.M1P{n}.host:2,", b"X-Copy: %d\n" % n + raw)
        for n in range(count)
    ]


def damaged(folder: str, count: int, raw: bytes) -> list[Mail]:
    """So many messages that are cut off, each elsewhere."""
    return [Mail(folder, f"cur/1500000{n:03}.M2P{n}.host:2,", raw[: 700 + n]) for n in range(count)]


@pytest.fixture
def one(keys: Keys) -> bytes:
    return encrypted(1, keys.old)


@pytest.fixture
def box(tmp_path: Path, one: bytes) -> Path:
    """Half of one folder is damaged, nothing of the other."""
    maildir = tmp_path / "box"
    bad = [*whole(".Bad", 20, one), *damaged(".Bad", 20, one)]
    fill(maildir, [*bad, *whole(".Good", 30, one)])
    return maildir


def left(summary: Summary) -> list[str]:
    return [entry.folder for entry in summary.left_folders]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_in_which_too_much_fails_is_left_and_the_others_are_done(
    specify: Specify, tmp_path: Path, one: bytes, workers: int
) -> None:
    box = tmp_path / "box"
    # More than any worker can have under way when the limit is reached.
    fill(box, [*damaged(".Bad", 250, one), *whole(".Good", 30, one)])
    summary = jobs.run(specify("decrypt", box, workers=workers))
    assert left(summary) == ["Bad"]
    assert summary.counts[State.CHECKPOINTED] == 30
    assert summary.counts[State.NOT_SELECTED] == summary.left_folders[0].messages > 0
    assert summary.exit_code == 3
    assert not summary.is_finished


def test_it_is_left_as_soon_as_ten_have_failed(
    specify: Specify, tmp_path: Path, one: bytes
) -> None:
    fill(tmp_path / "box", damaged(".Bad", 40, one))
    (entry,) = jobs.run(specify("decrypt", tmp_path / "box")).left_folders
    assert (entry.failed, entry.looked_at, entry.messages) == (10, 10, 30)


@pytest.mark.parametrize("higher", [60, 100])
def test_a_resume_with_a_higher_value_goes_on(box: Path, specify: Specify, higher: int) -> None:
    assert left(jobs.run(specify("decrypt", box))) == ["Bad"]
    summary = jobs.run(specify("decrypt", box, max_failures=higher))
    assert left(summary) == []
    assert summary.counts == {State.CHECKPOINTED: 50, State.MALFORMED: 20}
    assert summary.is_finished


def test_a_resume_with_the_same_value_leaves_it_at_once(box: Path, specify: Specify) -> None:
    first = jobs.run(specify("decrypt", box))
    again = jobs.run(specify("decrypt", box))
    assert again.counts == first.counts
    assert again.left_folders == first.left_folders


def test_fewer_than_ten_failures_are_never_too_many(
    specify: Specify, tmp_path: Path, one: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, damaged("", 9, one))
    assert left(jobs.run(specify("decrypt", box, max_failures=0))) == []


def test_mail_that_nobody_can_open_is_no_failure(
    specify: Specify, tmp_path: Path, keys: Keys
) -> None:
    box = tmp_path / "box"
    fill(box, whole("", 30, encrypted(1, keys.stranger)))
    summary = jobs.run(specify("decrypt", box))
    assert summary.counts == {State.MISSING_KEY: 30}
    assert left(summary) == []


def test_a_dry_run_looks_at_everything(box: Path, specify: Specify) -> None:
    summary = jobs.run(specify("decrypt", box, dry_run=True))
    assert summary.counts == {State.CHECKPOINTED: 50, State.MALFORMED: 20}


def test_a_folder_that_is_not_selected_is_not_told_as_left(box: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", box))
    summary = jobs.run(specify("decrypt", box, selection=jobs.Selection(folder="Good")))
    assert left(summary) == []


def key_named_alike(directory: Path, name: str) -> Key:
    key = Key(directory / f"{name}.crt", directory / f"{name}.key")
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-set_serial", "7"),
        *NO_AUTHORITY,
        *("-subj", "/CN=alike", "-keyout", key.private_key, "-out", key.certificate),
    )
    return key


def test_a_wrong_key_under_the_right_name_is_noticed_early_and_the_right_one_does_it_all(
    specify: Specify, tmp_path: Path
) -> None:
    right, wrong = (key_named_alike(tmp_path, name) for name in ("right", "wrong"))
    box = tmp_path / "box"
    fill(box, whole("", 40, encrypted(1, right)))

    def decrypt(key: Key) -> Summary:
        history = KeySpecification((key.certificate, key.private_key))
        return jobs.run(specify("decrypt", box, keys=history))

    assert decrypt(wrong).left_folders[0].messages == 30
    summary = decrypt(right)
    assert summary.counts == {State.CHECKPOINTED: 40}
    assert summary.is_finished


@pytest.fixture
def distinct(tmp_path: Path, keys: Keys) -> Path:
    """Two folders of messages that have a checkpoint each."""
    box = tmp_path / "box"
    mail = [
        Mail(folder, f"cur/16000{n:05}.M3P{n}.host:2,", encrypted(n, keys.old))
        for folder, first in ((".Bad", 0), (".Good", 100))
        for n in range(first, first + 20)
    ]
    fill(box, mail)
    return box


def test_encrypting_leaves_a_folder_too_and_no_message_half_done(
    distinct: Path, specify: Specify, tmp_path: Path, keys: Keys
) -> None:
    jobs.run(specify("decrypt", distinct))
    before = checker.meanings(distinct, [keys.old])
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    victims = [b"this is message %d\r\n" % n for n in range(15)]
    for path in (tmp_path / "job" / "checkpoints").glob("*.eml"):
        if path.read_bytes().endswith(tuple(victims)):
            path.rename(hidden / path.name)
    summary = jobs.run(specify("encrypt", distinct))
    assert left(summary) == ["Bad"]
    assert summary.counts == {
        State.REENCRYPTED: 20,
        State.FAILED: 10,
        State.CHECKPOINTED: 10,
    }
    assert not summary.is_finished
    assert checker.meanings(distinct, [keys.old, keys.new]) == before
    for path in hidden.iterdir():
        path.rename(tmp_path / "job" / "checkpoints" / path.name)
    assert jobs.run(specify("encrypt", distinct)).is_finished
    assert checker.meanings(distinct, [keys.new]) == before


def test_putting_plaintext_in_place_leaves_a_folder_too(
    distinct: Path, specify: Specify, tmp_path: Path, keys: Keys
) -> None:
    jobs.run(specify("decrypt", distinct))
    before = checker.meanings(distinct, [keys.old])
    damage = [b"this is message %d\r\n" % n for n in range(15)]
    for path in (tmp_path / "job" / "checkpoints").glob("*.eml"):
        whole = path.read_bytes()
        if whole.endswith(tuple(damage)):
            path.write_bytes(whole[:-3] + b"?\r\n")
    summary = jobs.run(specify("decrypt", distinct, in_place=True))
    assert left(summary) == ["Bad"]
    assert summary.counts[State.DECRYPTED] == 20
    assert summary.counts[State.FAILED] == 10
    assert not summary.is_finished
    again = jobs.run(specify("decrypt", distinct, in_place=True, max_failures=100))
    assert again.counts[State.DECRYPTED] == 35
    jobs.run(specify("rollback", None))
    assert checker.meanings(distinct, [keys.old]) == before
