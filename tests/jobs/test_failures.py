"""--max-failures: a folder in which too much fails is left, the others are done."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import WorkingSummary
from tests.support import checker
from tests.support.checker import Key
from tests.support.mailboxes import (
    CLEAR,
    Keys,
    Mail,
    encrypted,
    fill,
)
from tests.support.specifications import Specify

Decrypt = Callable[..., WorkingSummary]


def whole(folder: str, count: int, raw: bytes) -> list[Mail]:
    """So many messages that open; the first of their folder."""
    return [
        Mail(folder, f"cur/1400000{n:03}.M1P{n}.host:2,", b"X-Copy: %d\n" % n + raw)
        for n in range(count)
    ]


def damaged(folder: str, count: int, raw: bytes) -> list[Mail]:
    """So many messages that are cut off, each elsewhere."""
    return [Mail(folder, f"cur/1500000{n:03}.M2P{n}.host:2,", raw[: 700 + n]) for n in range(count)]


def closed(folder: str, count: int, raw: bytes) -> list[Mail]:
    """So many messages that do not open; the last of their folder."""
    return [
        Mail(folder, f"cur/1500000{n:03}.M2P{n}.host:2,", b"X-Copy: %d\n" % n + raw)
        for n in range(count)
    ]


@pytest.fixture
def decrypt(specify: Specify, keys: Keys, alike: tuple[Key, Key]) -> Decrypt:
    """Decrypts with the owner's keys, of which one is a wrong one under the right name."""
    wrong = alike[1]
    history = KeySpecification((keys.history, wrong.certificate, wrong.private_key))
    return lambda box, **options: jobs.run(specify("decrypt", box, keys=history, **options))


@pytest.fixture
def one(keys: Keys) -> bytes:
    return encrypted(1, keys.old)


@pytest.fixture
def tagged(keys: Keys) -> bytes:
    """A message of which every altered byte is noticed."""
    return encrypted(1, keys.old, options=("-aes-128-gcm",))


@pytest.fixture
def shut(alike: tuple[Key, Key]) -> bytes:
    return encrypted(1, alike[0])


@pytest.fixture
def box(tmp_path: Path, one: bytes, shut: bytes) -> Path:
    """The key of half of one folder is a wrong one, of nothing of the other."""
    maildir = tmp_path / "box"
    bad = [*whole(".Bad", 20, one), *closed(".Bad", 20, shut)]
    fill(maildir, [*bad, *whole(".Good", 30, one)])
    return maildir


def left(summary: WorkingSummary) -> list[str]:
    return [entry.folder for entry in summary.left_folders]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_in_which_too_much_fails_is_left_and_the_others_are_done(
    decrypt: Decrypt, tmp_path: Path, one: bytes, shut: bytes, workers: int
) -> None:
    box = tmp_path / "box"
    # More than any worker can have under way when the limit is reached.
    fill(box, [*closed(".Bad", 250, shut), *whole(".Good", 30, one)])
    summary = decrypt(box, workers=workers)
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
def test_a_resume_with_a_higher_value_goes_on(box: Path, decrypt: Decrypt, higher: int) -> None:
    assert left(decrypt(box)) == ["Bad"]
    summary = decrypt(box, max_failures=higher)
    assert left(summary) == []
    assert summary.counts == {State.CHECKPOINTED: 50, State.MALFORMED: 20}
    assert summary.is_finished


def test_a_resume_with_the_same_value_leaves_it_at_once(box: Path, decrypt: Decrypt) -> None:
    first = decrypt(box)
    again = decrypt(box)
    assert again.counts == first.counts
    assert again.left_folders == first.left_folders


def test_fewer_than_ten_failures_are_never_too_many(
    decrypt: Decrypt, tmp_path: Path, shut: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, closed("", 9, shut))
    assert left(decrypt(box, max_failures=0)) == []


def test_mail_that_nobody_can_open_is_no_failure(
    specify: Specify, tmp_path: Path, keys: Keys
) -> None:
    box = tmp_path / "box"
    fill(box, whole("", 30, encrypted(1, keys.stranger)))
    summary = jobs.run(specify("decrypt", box))
    assert summary.counts == {State.MISSING_KEY: 30}
    assert left(summary) == []


def test_a_dry_run_looks_at_everything(box: Path, decrypt: Decrypt) -> None:
    summary = decrypt(box, dry_run=True)
    assert summary.counts == {State.CHECKPOINTED: 50, State.MALFORMED: 20}


def test_a_folder_that_is_not_selected_is_not_told_as_left(box: Path, decrypt: Decrypt) -> None:
    decrypt(box)
    summary = decrypt(box, selection=jobs.Selection(folder="Good"))
    assert left(summary) == []


def test_a_wrong_key_under_the_right_name_is_noticed_early_and_the_right_one_does_it_all(
    specify: Specify, tmp_path: Path, alike: tuple[Key, Key], shut: bytes
) -> None:
    right, wrong = alike
    box = tmp_path / "box"
    fill(box, whole("", 80, shut))

    def decrypt(key: Key) -> WorkingSummary:
        history = KeySpecification((key.certificate, key.private_key))
        return jobs.run(specify("decrypt", box, keys=history))

    assert decrypt(wrong).left_folders[0].messages == 70
    summary = decrypt(right)
    assert summary.counts == {State.CHECKPOINTED: 80}
    assert summary.is_finished


# --- junk that anybody can send -------------------------------------------------------------


def cut(number: int, raw: bytes) -> bytes:
    """Cut off behind its recipients, each elsewhere: it names the key."""
    return raw[: len(raw) * 4 // 5 + number]


def garbled(number: int, raw: bytes) -> bytes:
    """Whole, with another tag: it names the key, and nothing tells."""
    header, _, body = raw.partition(b"\n\n")
    der = bytearray(base64.b64decode(body))
    der[-16:] = hashlib.md5(b"%d" % number, usedforsecurity=False).digest()
    return header + b"\n\n" + base64.encodebytes(der)


def headless(number: int, raw: bytes) -> bytes:
    """It names nobody."""
    return raw.partition(b"\n\n")[0] + b"\n\n" + base64.encodebytes(b"%d " % number * 40)


JUNK = {"cut": cut, "garbled": garbled, "headless": headless}


def junk(folder: str, name: str, raw: bytes, *, first: bool) -> list[Mail]:
    begin = 1_000_000_000 if first else 1_900_000_000
    return [Mail(folder, f"cur/{begin + n}.M9P{n}.host:2,", JUNK[name](n, raw)) for n in range(40)]


@pytest.mark.parametrize("workers", [0, pytest.param(4, marks=pytest.mark.all_only)])
@pytest.mark.parametrize("where", ["first", "behind", "a folder of its own", "both"])
@pytest.mark.parametrize("name", JUNK)
def test_junk_in_the_mail_costs_itself_alone(
    name: str, where: str, workers: int, specify: Specify, tmp_path: Path, tagged: bytes
) -> None:
    box = tmp_path / "box"
    folder = ".Junk" if where == "a folder of its own" else ""
    mail = junk(folder, name, tagged, first=where != "behind")
    mail += junk(folder, name, tagged, first=False) if where == "both" else []
    fill(box, [*whole("", 5, tagged), *mail])
    summary = jobs.run(specify("decrypt", box, workers=workers))
    assert left(summary) == []
    assert summary.counts[State.CHECKPOINTED] == 5
    assert sum(summary.counts.values()) == len(mail) + 5
    assert summary.is_finished
    again = jobs.run(specify("decrypt", box, workers=workers))
    assert (left(again), again.counts) == ([], summary.counts)


@pytest.mark.parametrize("name", JUNK)
def test_junk_that_comes_when_all_other_mail_is_done_is_known_for_junk(
    name: str, specify: Specify, tmp_path: Path, tagged: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, whole("", 5, tagged))
    jobs.run(specify("decrypt", box))
    fill(box, junk(".Junk", name, tagged, first=True))
    summary = jobs.run(specify("decrypt", box))
    assert (left(summary), summary.is_finished) == ([], True)


def test_junk_does_not_hide_a_wrong_key(
    decrypt: Decrypt, tmp_path: Path, tagged: bytes, shut: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, [*junk(".Bad", "garbled", tagged, first=True), *closed(".Bad", 100, shut)])
    fill(box, whole(".Good", 30, tagged))
    summary = decrypt(box)
    assert left(summary) == ["Bad"]
    assert summary.left_folders[0].messages > 40
    assert not summary.is_finished


def test_exchanging_recipients_is_not_kept_from_its_work_by_junk_either(
    specify: Specify, tmp_path: Path, tagged: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, [*whole("", 5, tagged), *junk("", "garbled", tagged, first=True)])
    summary = jobs.run(specify("rewrap", box))
    # The content of these five would not stay as the profile writes it, and they opened.
    assert (left(summary), summary.counts[State.REFUSED]) == ([], 5)


def test_nor_is_encrypting_what_is_in_clear(
    specify: Specify, tmp_path: Path, tagged: bytes
) -> None:
    box = tmp_path / "box"
    fill(box, [*whole("", 2, tagged), *junk("", "headless", tagged, first=True)])
    fill(box, [Mail(".Clear", f"cur/{n}.M1P1.host:2,", CLEAR + b"%d" % n) for n in range(3)])
    jobs.run(specify("decrypt", box))
    fill(box, junk("", "headless", b"X-Later: 1\n" + tagged, first=False))
    summary = jobs.run(specify("encrypt", box, include_clear=True))
    assert (left(summary), summary.counts[State.REENCRYPTED]) == ([], 5)


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
