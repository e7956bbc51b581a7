"""Mail programs read an mbox before a move and after it, and see the same mail."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from tests.support import checker
from tests.support.dovecot import OWNER, mbox_of_dovecot
from tests.support.mail_programs import Mutt, Thunderbird, uncounted
from tests.support.mailboxes import CLEAR, Keys, encrypted
from tests.support.mbox_files import Stored, flagged, messages_in, quoted
from tests.support.specifications import Specify

LINE = b"From sender-%d@example.org Fri Mar  4 05:06:%02d 2011\n"

TALE = CLEAR.replace(b"hello", b"a tale") + b"\nFrom here on it says\n\n>From me\n"
"""In clear; a reader that goes by ``From `` alone finds too many messages in it."""

MARKS = (frozenset({"seen", "flagged", "answered"}), frozenset({"seen"}), frozenset[str]())

DIALECTS = {
    "mboxrd": lambda raw, flags: quoted(flagged(raw, flags, "mutt")),
    "mboxcl": lambda raw, flags: _counted(quoted(flagged(raw, flags, "mutt"))),
    "mboxcl2": lambda raw, flags: _counted(flagged(raw, flags, "mutt")),
    "thunderbird": lambda raw, flags: quoted(flagged(raw, flags, "thunderbird")),
}


def _counted(raw: bytes) -> bytes:
    head, empty, body = Stored(LINE, raw).split()
    return b"".join((head, b"Content-Length: %d\n" % len(body), empty, body))


def fill(box: Path, keys: Keys, dialect: str) -> None:
    """Three encrypted messages, and one in clear between them."""
    mail = [(encrypted(number, keys.old), flags) for number, flags in enumerate(MARKS)]
    mail.insert(1, (TALE, frozenset({"seen"})))
    box.write_bytes(
        b"".join(
            LINE % (number, number) + DIALECTS[dialect](raw, flags) + b"\n"
            for number, (raw, flags) in enumerate(mail)
        )
    )


ENCRYPTED, ALL = len(MARKS), len(MARKS) + 1


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param(name, marks=() if name == "mboxcl2" else pytest.mark.all_only)
        for name in DIALECTS
    ],
)
def test_mutt_counts_the_same_messages_and_flags_before_and_after(
    tmp_path: Path, keys: Keys, specify: Specify, dialect: str
) -> None:
    mutt = Mutt.start(tmp_path)
    box = tmp_path / "box"
    fill(box, keys, dialect)

    def seen(name: str) -> tuple[str, Counter[tuple[object, ...]]]:
        counts = mutt.copy(box, tmp_path / name, "Maildir")
        found: Counter[tuple[object, ...]] = Counter()
        for mail in checker.stored_mail(tmp_path / name):
            what = replace(mail, raw=uncounted(mail.raw))
            found[checker.meaning(what, (keys.old, keys.new))] += 1
        return counts, found

    before = seen("before")
    assert before[0].startswith(f"{ALL} messages")
    assert before[1].total() == ALL
    if dialect != "thunderbird":
        assert "1 flagged" in before[0]
        assert Counter(flags for _, flags, *_ in before[1])["FRS"] == 1
    for operation, state in (("decrypt", State.CHECKPOINTED), ("encrypt", State.REENCRYPTED)):
        assert jobs.run(specify(operation, box)).counts[state] == ENCRYPTED
        assert seen(operation) == before


def test_what_is_done_in_mutt_between_the_phases_stays_done(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    mutt = Mutt.start(tmp_path)
    box = tmp_path / "box"
    fill(box, keys, "mboxrd")
    jobs.run(specify("decrypt", box))
    mutt.flag_and_delete(box, "message 1", "message 2")
    assert len(messages_in(box.read_bytes())) == ALL - 1
    summary = jobs.run(specify("encrypt", box))
    assert summary.counts == {State.REENCRYPTED: 2, State.LOST: 1, State.CLEAR: 1}
    after = messages_in(box.read_bytes())
    assert [one.flags for one in after] == [MARKS[0], {"seen"}, {"seen", "flagged"}]


def test_thunderbird_opens_every_message_and_shows_what_it_showed_before(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    thunderbird = Thunderbird.start(tmp_path / "profile", (keys.old, keys.new))
    before, after = thunderbird.folders / "Before", thunderbird.folders / "After"
    for box in (before, after):
        fill(box, keys, "thunderbird")
    jobs.run(specify("decrypt", after))
    assert jobs.run(specify("encrypt", after)).counts[State.REENCRYPTED] == ENCRYPTED
    assert after.read_bytes() != before.read_bytes()
    shown = thunderbird.messages()
    of = {
        folder: [{**one, "folder": ""} for one in shown if one["folder"] == folder]
        for folder in ("Before", "After")
    }
    assert of["After"] == of["Before"]
    assert len(of["After"]) == ALL
    assert [one["flags"] & 7 for one in of["After"]] == [7, 1, 1, 0]
    texts = [one["text"] for one in of["After"] if one["subject"].startswith("message")]
    assert [f"this is message {number}" in text for number, text in enumerate(texts)] == [True] * 3


@pytest.mark.all_only
def test_thunderbird_makes_the_index_of_a_rewritten_file_anew(
    tmp_path: Path, keys: Keys, specify: Specify
) -> None:
    thunderbird = Thunderbird.start(tmp_path / "profile", (keys.old, keys.new))
    box = thunderbird.folders / "Work"
    fill(box, keys, "thunderbird")
    before = thunderbird.messages(is_left_open=False)
    assert box.with_name("Work.msf").stat().st_size
    jobs.run(specify("decrypt", box.parent))
    assert jobs.run(specify("encrypt", box.parent)).counts[State.REENCRYPTED] == ENCRYPTED
    assert thunderbird.messages() == before
    # And what it wrote there meanwhile is no obstacle.
    assert jobs.run(specify("verify", box.parent)).counts[State.REENCRYPTED] == ENCRYPTED


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param(name, marks=() if name == "mboxrd" else pytest.mark.all_only)
        for name in DIALECTS
    ],
)
def test_doveadm_fetches_the_same_mail_before_and_after(
    keys: Keys, specify: Specify, dialect: str
) -> None:
    with mbox_of_dovecot() as doveadm:
        boxes = (doveadm.box, doveadm.box.with_name("Work"))
        for box in boxes:
            fill(box, keys, dialect)
            os.chown(box, OWNER, OWNER)
        status = ("mailbox", "status", "-t", "messages unseen", "*")
        counts, before = doveadm.run(*status), doveadm.shown()
        assert before.total() == len(boxes) * ALL
        for operation in ("decrypt", "encrypt"):
            summary = jobs.run(specify(operation, doveadm.box.parent))
            assert summary.messages == len(boxes) * ALL
            assert doveadm.run(*status) == counts
            assert doveadm.shown() == before
        found = [
            checker.opened(envelope, keys.new)
            for text in doveadm.texts()
            for envelope in checker.envelopes(text)
        ]
        assert len(found) == len(boxes) * ENCRYPTED
        assert None not in found
