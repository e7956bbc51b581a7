"""decrypt --in-place --nested: what is encrypted in a part, or inside, is opened in its place."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.message import BytesContent
from sectool.outcome import State
from sectool.progress import NoProgress
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.layers import (
    FOOTER,
    LIST_ID,
    TEXT,
    clear_signed,
    encrypt,
    forward,
    message,
    multipart,
    stored,
)
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.signing import make_signatory, sign
from tests.support.specifications import Fields, Specify, fitting

NAME = "cur/1300000001.M1P1.host:2,S"
EVERYTHING = smime.PartSelection(break_signatures=True)
IN_PLACE: Fields = {"in_place": True, "nested": True, "wrapped": True}
ALL_IN_PLACE: Fields = {**IN_PLACE, "part_selection": EVERYTHING}
LONG = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"Another text.\r\n" * 9
WITH_SUBJECT = b'Content-Type: text/plain; hp="cipher"\r\nSubject: secret\r\n\r\nThe text.\r\n'


class Warnings(NoProgress):
    """Remembers what a person was warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.warnings.append(text)


Around = Callable[[bytes], bytes]
"""From an entity, encrypted or in clear, to the message it stands in."""

PARTS: dict[str, Around] = {
    "forward": lambda one: message(1, forward(message(2, one))),
    "forward among parts": lambda one: message(
        1, multipart(FOOTER, forward(message(2, one)), FOOTER)
    ),
    "forward of a forward": lambda one: message(1, forward(message(2, forward(message(3, one))))),
    "two forwards": lambda one: message(
        1, multipart(forward(message(2, one)), forward(message(3, one)))
    ),
    "list footer": lambda one: message(1, multipart(one, FOOTER), LIST_ID),
    "under a signature": lambda one: message(1, clear_signed(one)),
    "with a mark of another": lambda one: message(
        1, forward(message(2, one, b"X-Sectool-Id: inner\r\n")), b"X-Sectool-Id: outer\r\n"
    ),
}
"""Messages with an encrypted part."""

INSIDE: dict[str, Callable[[Around], bytes]] = {
    "envelope in envelope": lambda seal: seal(seal(TEXT)),
    "three envelopes": lambda seal: seal(seal(seal(TEXT))),
    "envelope around text without a header": lambda seal: seal(seal(b"\r\nno header\r\n" * 9)),
    "forward inside": lambda seal: seal(forward(message(2, seal(TEXT)))),
    "forwards inside among parts": lambda seal: seal(
        multipart(
            FOOTER,
            forward(message(2, seal(TEXT))),
            forward(message(3, seal(LONG))),
            boundary=b"inner",
        )
    ),
}
"""Entities with envelopes inside each other, by what encrypts."""


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def deliver(maildir: Path, *messages: bytes) -> None:
    names = [NAME, *(f"cur/130000000{n}.M{n}P1.host:2,S" for n in range(2, len(messages) + 1))]
    fill(maildir, [Mail("", *one) for one in zip(names, map(stored, messages), strict=True)])


def only(maildir: Path) -> bytes:
    (path,) = (maildir / "cur").iterdir()
    return path.read_bytes()


def without_marks(raw: bytes) -> bytes:
    lines = raw.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"X-Sectool-Id: v=1;"))


def opened_layers(raw: bytes, key: checker.Key) -> list[bytes]:
    """What those envelopes of a message, and inside of them, open to that this key opens."""
    found: list[bytes] = []
    for envelope in checker.envelopes(raw):
        if (opened := checker.opened(envelope, key)) is not None:
            found += [opened, *opened_layers(opened, key)]
    return found


def outside(raw: bytes) -> list[bytes]:
    """All bytes of a message but those of its encrypted parts."""
    position, found = 0, []
    for part in smime.take_inventory(BytesContent(raw)).parts:
        found.append(raw[position : part.header.start])
        position = part.body_end
    return [*found, raw[position:]]


# --- there and back -------------------------------------------------------------------


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_opened_in_its_place_and_encrypted_again(
    name: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir, around = tmp_path / "Maildir", PARTS[name]
    deliver(maildir, around(encrypt(TEXT, keys.old)))
    before = only(maildir)
    run = specify("decrypt", maildir, **ALL_IN_PLACE)
    summary = jobs.run(run)
    assert (counts(summary), summary.exit_code) == ({State.DECRYPTED: 1}, 0)
    copy = only(maildir)
    (mark,) = (line for line in copy.splitlines() if line.startswith(b"X-Sectool-Id: v=1;"))
    wanted = stored(around(TEXT)).replace(b"X-Sectool-Id: outer\n", b"")
    assert without_marks(copy) == wanted
    assert mark in copy.partition(b"\n\n")[0]
    census = checker.census(maildir)
    assert counts(jobs.run(run)) == {State.DECRYPTED: 1}
    assert checker.census(maildir) == census
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}
    after = only(maildir)
    assert outside(after) == [
        part.replace(b"X-Sectool-Id: outer\n", b"") for part in outside(before)
    ]
    opened = opened_layers(after, keys.new)
    assert opened == opened_layers(before, keys.old) == [TEXT] * len(opened) != []
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    assert counts(jobs.run(specify("verify", None, verify_keys=new))) == {State.VERIFIED: 1}


@pytest.mark.parametrize("place", ["whole", "forward among parts"])
@pytest.mark.parametrize("name", INSIDE)
def test_layers_inside_are_opened_in_their_places_and_encrypted_again(
    name: str, place: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"

    def whole(seal: Around) -> bytes:
        entity = INSIDE[name](seal)
        return message(1, entity) if place == "whole" else PARTS[place](entity)

    # Authenticated, so that text without a header is taken, too.
    options = ("-aes-128-gcm",)
    deliver(maildir, whole(lambda entity: encrypt(entity, keys.old, options=options)))
    before = only(maildir)
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    copy = only(maildir)
    assert without_marks(copy) == stored(whole(lambda entity: entity))
    jobs.run(specify("encrypt", maildir))
    after = only(maildir)
    assert outside(after) == outside(before)
    wanted, found = opened_layers(before, keys.old), opened_layers(after, keys.new)
    assert len(found) == len(wanted)
    assert [text for text in found if text in (TEXT, LONG)] == [
        text for text in wanted if text in (TEXT, LONG)
    ]
    assert not opened_layers(after, keys.old)


def test_a_header_that_cannot_stand_in_that_of_the_part_stays_whole(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, PARTS["forward among parts"](encrypt(WITH_SUBJECT, keys.old)))
    before = only(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert summary.not_done == []
    copy = only(maildir)
    assert stored(WITH_SUBJECT) in copy
    assert copy.count(b"--outer") == before.count(b"--outer")
    assert smime.take_inventory(BytesContent(copy)).state is State.CLEAR
    jobs.run(specify("encrypt", maildir))
    assert outside(only(maildir)) == outside(before)
    assert opened_layers(only(maildir), keys.new) == [WITH_SUBJECT]


@pytest.mark.parametrize("nested", [False, True], ids=["whole message", "forward"])
def test_nothing_of_the_header_inside_is_left_in_clear_when_it_is_encrypted_again(
    nested: bool, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    secret = b"Content-Language: tlh\r\n" + TEXT
    whole = message(2, encrypt(secret, keys.old))
    deliver(maildir, message(1, forward(whole)) if nested else whole)
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert b"Content-Language: tlh\n" in only(maildir)
    jobs.run(specify("encrypt", maildir))
    assert opened_layers(only(maildir), keys.new) == [secret]
    assert b"Content-Language" not in only(maildir)


@pytest.mark.parametrize("options", [(), ("-nodetach",)], ids=["clear", "opaque"])
def test_a_signature_in_a_forward_verifies_in_its_place_and_after_encrypting(
    options: tuple[str, ...], specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    signed = sign(make_signatory(tmp_path, "alice"), TEXT, *options)
    deliver(maildir, PARTS["forward among parts"](encrypt(signed, keys.old)))

    def verifies(raw: bytes) -> bool:
        command = ["openssl", "cms", "-verify", "-noverify"]
        return subprocess.run(command, input=raw, capture_output=True, check=False).returncode == 0

    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    copy = only(maildir)
    (place,) = smime.places_of(BytesContent(copy), ["2.1"])
    forwarded = copy[place.header.start : place.body_end]
    assert verifies(forwarded)
    assert not verifies(forwarded.replace(b"folder", b"drawer").replace(b"MII", b"MIJ"))
    jobs.run(specify("encrypt", maildir))
    (opened,) = opened_layers(only(maildir), keys.new)
    assert verifies(opened)


def test_a_copy_whose_line_ends_a_server_changed_is_encrypted_in_its_parts(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir, moved = tmp_path / "Maildir", tmp_path / "moved"
    raw = PARTS["two forwards"](encrypt(TEXT, keys.old))
    deliver(maildir, raw)
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    copy = only(maildir).replace(b"\n", b"\r\n")
    fill(moved, [Mail(".Elsewhere", NAME, b"X-Moved: yes\r\n" + copy)])
    assert counts(jobs.run(specify("encrypt", moved))) == {State.REENCRYPTED: 1}
    (mail,) = checker.stored_mail(moved)
    assert outside(mail.raw.removeprefix(b"X-Moved: yes\r\n")) == outside(raw)
    assert opened_layers(mail.raw, keys.new) == [TEXT] * 2


def test_plaintext_of_sealed_checkpoints_lies_in_the_mailbox_alone(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    seal: Fields = {
        **IN_PLACE,
        "seal_to": (keys.transport.certificate,),
        "seal_keys": KeySpecification((keys.transport.certificate, keys.transport.private_key)),
    }
    deliver(maildir, message(1, INSIDE["forward inside"](lambda one: encrypt(one, keys.old))))
    jobs.run(specify("decrypt", maildir, **seal))
    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"The plans are in the blue folder" in path.read_bytes()
    ]
    assert [path.parent for path in holders] == [maildir / "cur"]
    jobs.run(specify("encrypt", maildir, seal_keys=seal["seal_keys"]))
    assert opened_layers(only(maildir), keys.new)[-1] == TEXT


# --- what is fixed ----------------------------------------------------------------------


def test_without_it_nested_mail_stays_and_the_reason_names_it(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    seal: Around = lambda one: encrypt(one, keys.old)  # noqa: E731
    deliver(maildir, PARTS["forward"](seal(TEXT)), message(2, INSIDE["forward inside"](seal)))
    census = checker.census(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 2}, 3)
    assert all("--nested" in entry.reason for entry in summary.not_done)
    assert checker.census(maildir) == census
    later = specify("decrypt", maildir, in_place=True, nested=True)
    assert counts(jobs.run(later)) == {State.DECRYPTED: 2}
    with pytest.raises(UsageError, match="without --nested"):
        jobs.run(specify("decrypt", maildir, in_place=True))


def test_it_needs_in_place(specify: Specify, tmp_path: Path, keys: Keys) -> None:
    deliver(tmp_path / "Maildir", message(1, encrypt(TEXT, keys.old)))
    with pytest.raises(UsageError, match="in place"):
        jobs.run(specify("decrypt", tmp_path / "Maildir", nested=True))


def test_a_job_that_was_undone_may_be_begun_without_it(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, PARTS["forward"](encrypt(TEXT, keys.old)))
    before = only(maildir)
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert counts(jobs.run(specify("rollback", None))) == {State.ROLLED_BACK: 1}
    assert only(maildir) == before
    jobs.run(specify("decrypt", maildir, in_place=True))
    assert only(maildir) == before


def test_undoing_opens_nested_mail_where_the_job_did_and_tells_what_stays(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fits = PARTS["forward among parts"](encrypt(TEXT, keys.old))
    does_not = PARTS["forward among parts"](encrypt(TEXT + b"\r", keys.old))
    deliver(maildir, fits, does_not)
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    before = sorted(without_marks(mail.raw) for mail in checker.stored_mail(maildir))
    jobs.run(specify("encrypt", maildir))
    told = Warnings()
    summary = jobs.run(specify("rollback", None, to_stage="decrypted"), progress=told)
    assert summary.exit_code == 3
    assert counts(summary) == {State.DECRYPTED: 1, State.REENCRYPTED: 1}
    assert any("not put back in clear" in warning for warning in told.warnings)
    after = sorted(without_marks(mail.raw) for mail in checker.stored_mail(maildir))
    assert len(set(before) & set(after)) == 1


def test_undoing_what_was_purged_says_why_it_stays(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir, told = tmp_path / "Maildir", Warnings()
    deliver(maildir, PARTS["forward"](encrypt(TEXT, keys.old)))
    jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    jobs.run(specify("encrypt", maildir, verify_keys=new))
    jobs.run(specify("purge", None))
    assert jobs.run(specify("rollback", None), progress=told).exit_code == 3
    assert any("originals were purged" in warning for warning in told.warnings)


# --- what stays encrypted all the same ----------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"\r\n--outer\r\n", b"\r\n--outer--\r\n", b"\r\n--outermost\r\n", b"\r--outer\r\n"],
    ids=["delimiter", "end", "begins so", "after a bare CR"],
)
def test_a_plaintext_that_would_end_what_is_around_it_stays_encrypted(
    line: bytes, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    """B58."""
    maildir = tmp_path / "Maildir"
    text = TEXT + line + b"Content-Type: text/html\r\n\r\n<img src='"
    inside = encrypt(multipart(FOOTER, forward(message(3, encrypt(text, keys.old)))), keys.old)
    deliver(maildir, PARTS["forward among parts"](encrypt(text, keys.old)), message(2, inside))
    census = checker.census(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 2}, 3)
    assert all("would end the multipart" in entry.reason for entry in summary.not_done)
    assert checker.census(maildir) == census
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 2}


@pytest.mark.parametrize("nested", [False, True], ids=["whole message", "forward"])
def test_a_header_that_would_show_the_plaintext_in_other_text_keeps_it_encrypted(
    nested: bool, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    """B57."""
    maildir = tmp_path / "Maildir"
    html = TEXT.replace(b"text/plain", b"text/html")
    damaged = message(1, encrypt(html, keys.old), b"<img src='http://evil.example/?\r\n")
    deliver(maildir, message(2, forward(damaged)) if nested else damaged)
    census = checker.census(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=nested))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 1}, 3)
    assert "a header around it is damaged" in summary.not_done[0].reason
    assert checker.census(maildir) == census
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}


def test_a_plaintext_that_would_be_another_in_the_mailbox_stays_encrypted(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, PARTS["forward among parts"](encrypt(TEXT + b"\r", keys.old)))
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 1}, 3)
    assert "cannot stand in the mailbox" in summary.not_done[0].reason
    assert not list((maildir / "tmp").iterdir())
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}


def test_a_part_whose_number_is_not_its_own_stays_encrypted(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    listed = message(2, multipart(encrypt(TEXT, keys.old), FOOTER, boundary=b"list"), LIST_ID)
    deliver(maildir, message(1, multipart(FOOTER, forward(listed))))
    summary = jobs.run(specify("decrypt", maildir, **ALL_IN_PLACE))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert "not the only one of that number" in summary.not_done[0].reason
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}
    assert opened_layers(only(maildir), keys.new) == [TEXT]


@pytest.mark.parametrize("name", ["triple wrap", "sandwich", "stranger", "encoded forward"])
def test_a_layer_that_keeps_its_recipients_keeps_its_message_encrypted(
    name: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir, inner = tmp_path / "Maildir", encrypt(TEXT, keys.old)
    plaintext = {
        "triple wrap": clear_signed(inner),
        "sandwich": multipart(FOOTER, inner),
        "stranger": encrypt(TEXT, keys.stranger),
        "encoded forward": b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64"
        b"\r\n\r\n" + base64.encodebytes(message(2, inner)),
    }[name]
    deliver(maildir, message(1, encrypt(plaintext, keys.old)))
    before = only(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=True))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert "another encrypted layer" in summary.not_done[0].reason
    assert only(maildir) == before


# --- undone, and killed -------------------------------------------------------------------


# Budget: 15 seconds.
@pytest.mark.parametrize("operation", ["decrypt", "encrypt", "rollback", "to-stage"])
def test_killed_at_every_point_nothing_is_lost_and_the_same_end_is_reached(
    operation: str, specify: Specify, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    directory = tmp_path / "trial"
    maildir = directory / "Maildir"
    seal: Around = lambda one: encrypt(one, keys.old)  # noqa: E731
    clear: Around = lambda one: one  # noqa: E731
    forms: list[Callable[[Around], bytes]] = [
        lambda seal: PARTS["forward among parts"](seal(TEXT)),
        lambda seal: message(2, INSIDE["forward inside"](seal)),
    ]
    raws = [form(seal) for form in forms]
    deliver(maildir, *raws)
    in_clear = [stored(form(clear)) for form in forms]
    around = [outside(stored(raw)) for raw in raws]

    def specification(name: str) -> jobs.Specification:
        options: dict[str, Fields] = {
            "decrypt": {"in_place": True, "nested": True},
            "to-stage": {"to_stage": "decrypted"},
        }
        place = maildir if name in {"decrypt", "encrypt"} else None
        operation = "rollback" if name == "to-stage" else name
        usual: Fields = {"job": directory / "job"}
        return specify(operation, place, **fitting(operation, usual, options.get(name)))

    if operation != "decrypt":
        jobs.run(specification("decrypt"))
    if operation in {"rollback", "to-stage"}:
        jobs.run(specification("encrypt"))
    trial = crash.Trial(directory, whole=whole, beside=True)

    def found() -> set[int]:
        """Which of the messages are there, in clear, or for the old or the new key."""
        numbers: set[int] = set()
        for mail in checker.stored_mail(maildir):
            raw = without_marks(mail.raw)
            if raw in in_clear:
                numbers.add(in_clear.index(raw))
                continue
            texts = [opened_layers(raw, key) for key in (keys.old, keys.new)]
            assert any(text and text[-1] == TEXT for text in texts)
            numbers.add(around.index(outside(raw)))
        return numbers

    spec = specification(operation)
    wanted = counts(jobs.run(spec))
    assert sum(wanted.values()) == len(forms)
    assert "plaintext.written" in trial.points(spec) or operation in {"encrypt", "rollback"}
    for where in trial.kills(spec):
        assert found() == {0, 1}, where
        assert counts(jobs.run(spec)) == wanted, where
        assert found() == {0, 1}, where
        assert len(list(checker.stored_mail(maildir))) == len(forms)
        assert not list((maildir / "tmp").iterdir()), where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(maildir) == census, where
