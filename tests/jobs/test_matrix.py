"""Every way of moving mail, across everything that may happen to a mailbox between the phases.

Each cell: the first phase, what happens meanwhile, the second phase with the
states and exit code expected, a look by openssl at what lies there then, and the
second phase once more, which must change nothing.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sectool import jobs
from sectool.joblog import REPLACED
from sectool.jobs import Selection
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill
from tests.support.specifications import Fields, Specify


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
    first: Callable[[Keys], Fields] = lambda _: {}
    second: Callable[[Keys], Fields] = lambda _: {}
    wrap: Callable[[bytes], bytes] = lambda raw: raw
    """What its encrypted mail stands in."""
    follows: bool = False
    """Whether a job has to be told where its mailbox was moved to, which ``verify`` does."""


def _anew(_: Keys) -> Fields:
    return {"or_reencrypt": True}


def _forwarded(raw: bytes) -> bytes:
    forward = b"Content-Type: message/rfc822\n\n" + raw
    text = b"Content-Type: text/plain\n\nsee there\n"
    parts = b"".join(b"\n--outer\n" + part for part in (text, forward, text))
    header = b'Subject: forward\nContent-Type: multipart/mixed; boundary="outer"\n'
    return header + parts + b"\n--outer--\n"


WAYS = {
    "checkpoints": Way("decrypt", "encrypt"),
    "in place": Way("decrypt", "encrypt", first=lambda _: {"in_place": True}),
    "in place, nested": Way(
        "decrypt",
        "encrypt",
        first=lambda _: {"in_place": True, "nested": True},
        wrap=_forwarded,
    ),
    "sealed checkpoints": Way(
        "decrypt",
        "encrypt",
        first=lambda keys: {"seal_to": (keys.transport.certificate,)},
        second=lambda keys: {"seal_keys": KeySpecification((keys.transport.private_key,))},
    ),
    "rewrap": Way("rewrap", "rewrap", first=_anew, second=_anew, follows=True),
    "rewrap, begun": Way(
        "rewrap",
        "rewrap",
        first=lambda keys: {**_anew(keys), "selection": Selection(limit=3)},
        second=_anew,
        follows=True,
    ),
}


# --- what happens meanwhile ---------------------------------------------------------------


def wrapped(mail: list[Mail], way: Way) -> list[Mail]:
    return [one if one.raw == CLEAR else replace(one, raw=way.wrap(one.raw)) for one in mail]


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
    arrived: int = 0
    """Messages that somebody encrypted to the new key."""


EVENTS = {
    "same path": Event(stays),
    "moved path": Event(moves),
    "folders renamed": Event(folders_are_renamed),
    "all names new": Event(names_are_new),
    "line ends changed": Event(line_ends_change),
    "mail deleted and arrived": Event(
        mail_goes_and_comes,
        reencrypted=5,
        others={State.LOST: 1, State.OLD_KEY: 1, State.NOT_IN_JOB: 2},
        exit_code=3,
        arrived=1,
    ),
    "mail to oneself": Event(mail_to_oneself_changes_folders),
    "half the folders moved": Event(
        half_the_folders_move, reencrypted=4, others={State.LOST: 2}, exit_code=3
    ),
}

_TAKEN_AS_IT_COMES = Event(
    mail_goes_and_comes,
    reencrypted=6,
    others={State.LOST: 1, State.NOT_IN_JOB: 1, State.CLEAR: 2},
    exit_code=3,
    arrived=1,
)

OTHERWISE = {
    ("rewrap", "mail deleted and arrived"): _TAKEN_AS_IT_COMES,
    ("rewrap, begun", "mail deleted and arrived"): _TAKEN_AS_IT_COMES,
    # What was not begun is not missed.
    ("rewrap, begun", "half the folders moved"): Event(half_the_folders_move, reencrypted=4),
}
"""Where a way ends otherwise than the others."""


def expected_of(way: str, event: str) -> Event:
    return OTHERWISE.get((way, event), EVENTS[event])


# --- the cells --------------------------------------------------------------------------


def _replaced(summary: Summary) -> int:
    return sum(summary.counts[state] for state in REPLACED)


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


def _follow(way: Way, there: Path, specify: Specify) -> Path:
    if way.follows:
        jobs.run(specify("verify", there))
    return there


CELLS = [
    pytest.param(how, what, marks=() if (row + column) % 2 == 0 else pytest.mark.all_only)
    for row, how in enumerate(WAYS)
    for column, what in enumerate(EVENTS)
]
"""Of each way and of each event every other cell is in the sample."""


# Budget: 15 seconds.
@pytest.mark.parametrize(("how", "what"), CELLS)
def test_every_message_is_found_and_encrypted_whatever_happened_meanwhile(
    how: str, what: str, mail: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    way, event = WAYS[how], expected_of(how, what)
    maildir = tmp_path / "Maildir"
    fill(maildir, wrapped(mail, way))
    expected = _contents(maildir, keys)
    first = jobs.run(specify(way.before, maildir, **way.first(keys)))
    assert first.exit_code == 0

    there = _follow(way, event.happen(maildir, keys), specify)
    if event.happen not in {mail_goes_and_comes, half_the_folders_move}:
        assert _contents_before_encrypting(there, way, keys, expected)
    second = jobs.run(specify(way.after, there, **way.second(keys)))

    assert _replaced(second) == event.reencrypted
    others = {state: n for state, n in _counts(second).items() if state not in REPLACED}
    assert others == {State.CLEAR: 1, **event.others}
    assert second.exit_code == event.exit_code
    assert _openable(there, keys.new) == event.reencrypted + event.arrived
    assert _openable(there, keys.old) == event.others.get(State.OLD_KEY, 0)
    if event.exit_code == 0 and event.happen is not half_the_folders_move:
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


@pytest.mark.parametrize("how", WAYS)
def test_the_other_half_of_the_folders_is_found_when_it_comes(
    how: str, mail: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    way, half = WAYS[how], expected_of(how, "half the folders moved")
    maildir = tmp_path / "Maildir"
    fill(maildir, wrapped(mail, way))
    expected = _contents(maildir, keys)
    jobs.run(specify(way.before, maildir, **way.first(keys)))
    there = _follow(way, half_the_folders_move(maildir, keys), specify)
    second = jobs.run(specify(way.after, there, **way.second(keys)))
    assert second.exit_code == half.exit_code
    for folder in (".Sent", ".Archive"):
        (maildir / folder).rename(there / folder)
    whole = jobs.run(specify(way.after, there, **way.second(keys)))
    assert (_replaced(whole), whole.counts[State.CLEAR], whole.exit_code) == (6, 1, 0)
    assert whole.messages == 7
    assert _contents(there, keys) == expected
