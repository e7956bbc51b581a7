"""Every way of moving mail, across everything that may happen to a mailbox between the phases.

Each cell: the first phase, what happens meanwhile, the second phase with the
states and exit code expected, a look by openssl at what lies there then, and the
second phase once more, which must change nothing.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State, Summary
from tests.support import checker
from tests.support.mailboxes import CLEAR, Keys, Mail, Specify, encrypted, fill


@pytest.fixture(scope="module")
def mail(keys: Keys) -> list[Mail]:
    """Seven messages, of which six are encrypted and two are one mail to oneself."""
    to_oneself = encrypted(4, keys.old)
    return [
        Mail("", "cur/1300000001.M1P1.host,S=900:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000002.M2P1.host:2,", encrypted(2, keys.old, options=("-des3",))),
        Mail("", "new/1300000003.M3P1.host", encrypted(3, keys.old, options=("-aes-128-gcm",))),
        Mail("", "cur/1300000004.M4P1.host:2,FS", to_oneself),
        Mail(".Sent", "cur/1300000005.M5P1.host:2,S", b"X-Copy: mine\n" + to_oneself),
        Mail(".Archive", "cur/1300000006.M6P1.host:2,S", encrypted(6, keys.old)),
        Mail("", "cur/1300000007.M7P1.host:2,RS", CLEAR),
    ]


# --- ways ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How the mail gets from old keys to new: options of the phase before and the one after."""

    before: str
    after: str
    first: Callable[[Keys], dict[str, object]] = lambda _: {}
    second: Callable[[Keys], dict[str, object]] = lambda _: {}


WAYS = {
    "checkpoints": Way("decrypt", "encrypt"),
    "in place": Way("decrypt", "encrypt", first=lambda _: {"in_place": True}),
    "sealed checkpoints": Way(
        "decrypt",
        "encrypt",
        first=lambda keys: {"seal_to": (keys.transport.certificate,)},
        second=lambda keys: {"seal_keys": KeySpecification((keys.transport.private_key,))},
    ),
}


# --- what happens meanwhile ---------------------------------------------------------------


def files(maildir: Path) -> list[Path]:
    return sorted(file for state in ("cur", "new") for file in maildir.rglob(f"{state}/*"))


def to_oneself(maildir: Path, *, sent: bool) -> Path:
    return next(
        file
        for file in files(maildir)
        if b"<4@example.org>" in (raw := file.read_bytes()) and (b"X-Copy" in raw) == sent
    )


def stays(maildir: Path, _: Keys) -> Path:
    return maildir


def moves(maildir: Path, _: Keys) -> Path:
    return maildir.rename(maildir.with_name("elsewhere"))


def folders_are_renamed(maildir: Path, _: Keys) -> Path:
    (maildir / ".Sent").rename(maildir / ".Gesendete Objekte")
    (maildir / ".Archive").rename(maildir / ".Archive.2019")
    return maildir


def names_are_new(maildir: Path, _: Keys) -> Path:
    """As after a copy through IMAP: every file has another name and time."""
    for number, file in enumerate(files(maildir)):
        state = file.name.partition(":")[2]
        copy = file.with_name(f"14{number:08}.M9P9.other" + (f":{state}" if state else ""))
        shutil.copyfile(file, copy)
        file.unlink()
    return maildir


def line_ends_change(maildir: Path, _: Keys) -> Path:
    for file in files(maildir):
        file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return maildir


def mail_goes_and_comes(maildir: Path, keys: Keys) -> Path:
    next(file for file in files(maildir) if b"<1@example.org>" in file.read_bytes()).unlink()
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(encrypted(21, keys.old))
    (maildir / "new" / "1500000002.M1P1.host").write_bytes(encrypted(22, keys.new))
    (maildir / "new" / "1500000003.M1P1.host").write_bytes(b"Subject: late\n\nin clear\n")
    return maildir


def mail_to_oneself_changes_folders(maildir: Path, _: Keys) -> Path:
    sent, received = to_oneself(maildir, sent=True), to_oneself(maildir, sent=False)
    sent.rename(maildir / "cur" / sent.name)
    received.rename(maildir / ".Sent" / "cur" / received.name)
    return maildir


def half_the_folders_move(maildir: Path, _: Keys) -> Path:
    there = maildir.with_name("elsewhere")
    shutil.copytree(maildir, there, ignore=shutil.ignore_patterns(".Sent", ".Archive"))
    return there


@dataclass(frozen=True)
class Event:
    """Something that happens between the phases, and what the second one says then."""

    happen: Callable[[Path, Keys], Path]
    reencrypted: int = 6
    others: dict[State, int] = field(default_factory=dict)
    exit_code: int = 0


EVENTS = {
    "same path": Event(stays),
    "moved path": Event(moves),
    "folders renamed": Event(folders_are_renamed),
    "all names new": Event(names_are_new),
    "line ends changed": Event(line_ends_change),
    "mail deleted and arrived": Event(
        mail_goes_and_comes,
        reencrypted=5,
        others={State.LOST: 1, State.OLD_KEY: 1, State.NEW: 2},
        exit_code=3,
    ),
    "mail to oneself": Event(mail_to_oneself_changes_folders),
    "half the folders moved": Event(
        half_the_folders_move, reencrypted=4, others={State.LOST: 2}, exit_code=3
    ),
}


# --- the cells --------------------------------------------------------------------------


def _counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def _contents(maildir: Path, keys: Keys) -> Counter[tuple[object, ...]]:
    """What lies in a mailbox, whatever its line ends: header lines, inner bytes and flags."""
    return Counter(
        (
            mail.flags,
            b"".join(checker.header_without_content_fields(mail.raw)).replace(b"\r\n", b"\n"),
            checker.inner_digests(mail.raw, [keys.new, keys.old]),
        )
        for mail in checker.stored_mail(maildir)
    )


def _openable(maildir: Path, key: checker.Key) -> int:
    """How many messages openssl opens with a key."""
    digests = (checker.inner_digests(mail.raw, [key]) for mail in checker.stored_mail(maildir))
    return sum(1 for found in digests if found and all(found))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_message_is_found_and_encrypted_whatever_happened_meanwhile(
    way: Way, event: Event, mail: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, mail)
    expected = _contents(maildir, keys)
    first = jobs.run(specify(way.before, maildir, **way.first(keys)))
    assert first.exit_code == 0

    there = event.happen(maildir, keys)
    if event.happen not in {mail_goes_and_comes, half_the_folders_move}:
        assert _contents_before_encrypting(there, way, keys, expected)
    second = jobs.run(specify(way.after, there, **way.second(keys)))

    assert _counts(second) == {
        State.REENCRYPTED: event.reencrypted,
        State.CLEAR: 1,
        **event.others,
    }
    assert second.exit_code == event.exit_code
    arrived = event.others.get(State.NEW, 0) // 2
    assert _openable(there, keys.new) == event.reencrypted + arrived
    assert _openable(there, keys.old) == event.others.get(State.OLD_KEY, 0)
    if event.exit_code == 0:
        assert _contents(there, keys) == expected

    census = checker.census(there)
    again = jobs.run(specify(way.after, there, **way.second(keys)))
    assert (again.exit_code, _counts(again)) == (second.exit_code, _counts(second))
    assert checker.census(there) == census


def _contents_before_encrypting(
    maildir: Path, way: Way, keys: Keys, expected: Counter[tuple[object, ...]]
) -> bool:
    """Whether the event itself kept the mail; where it lies in clear, openssl cannot tell."""
    return "in_place" in way.first(keys) or _contents(maildir, keys) == expected


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_other_half_of_the_folders_is_found_when_it_comes(
    way: Way, mail: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, mail)
    expected = _contents(maildir, keys)
    jobs.run(specify(way.before, maildir, **way.first(keys)))
    there = half_the_folders_move(maildir, keys)
    assert jobs.run(specify(way.after, there, **way.second(keys))).exit_code == 3
    for folder in (".Sent", ".Archive"):
        (maildir / folder).rename(there / folder)
    whole = jobs.run(specify(way.after, there, **way.second(keys)))
    assert (_counts(whole), whole.exit_code) == ({State.REENCRYPTED: 6, State.CLEAR: 1}, 0)
    assert _contents(there, keys) == expected
