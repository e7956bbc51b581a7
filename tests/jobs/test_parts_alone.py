"""Each encrypted part is decided alone: what opens is taken, what does not stays byte for byte."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.cli.words.render import as_json, as_table
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.layers import (
    FOOTER,
    LIST_ID,
    TEXT,
    encrypt,
    forward,
    message,
    multipart,
    stored,
)
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify, fitting

NAME = "cur/1300000001.M1P1.host:2,S"
HTML = b"Content-Type: text/html\r\n\r\n<p>Hello</p>"
SIGNATURE = b'Content-Type: application/pkcs7-signature; name="report.p7s"\r\n\r\nMAA='


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def deliver(maildir: Path, raw: bytes) -> bytes:
    fill(maildir, [Mail("", NAME, stored(raw))])
    return stored(raw)


def only(maildir: Path) -> bytes:
    (path,) = (maildir / "cur").iterdir()
    return path.read_bytes()


def document(entity: bytes, name: bytes = b"report.pdf.p7m") -> bytes:
    """An encrypted file as people attach it: the CMS of an entity under a name of its own."""
    fields = (
        b'Content-Type: application/octet-stream; name="%s"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="%s"\r\n\r\n'
    )
    return fields % (name, name) + entity.partition(b"\r\n\r\n")[2]


def opened_by(raw: bytes, key: checker.Key) -> list[bytes]:
    """What openssl opens of a message with a key."""
    found = (checker.opened(one, key) for one in checker.envelopes(raw))
    return [one for one in found if one is not None]


# --- parts among others ------------------------------------------------------------------


SURROUNDINGS: dict[str, Callable[[bytes], bytes]] = {
    "the only part, as readpst leaves it": multipart,
    "an empty text beside it": lambda part: multipart(b"Content-Type: text/plain\r\n\r\n", part),
    "a company's footer in HTML": lambda part: multipart(part, HTML),
    "a sandwich": lambda part: multipart(HTML, part, HTML),
    "a multipart in a multipart": lambda part: multipart(
        multipart(part, FOOTER, boundary=b"inner"), HTML
    ),
    "a forwarded mail with a footer": lambda part: multipart(
        FOOTER, forward(message(2, multipart(part, FOOTER, boundary=b"inner")))
    ),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_part_among_others_gets_the_new_recipients_and_all_else_stays(
    name: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    before = deliver(maildir, message(1, SURROUNDINGS[name](encrypt(TEXT, keys.old))))
    assert counts(jobs.run(specify("scan", maildir))) == {State.READABLE: 1}
    assert counts(jobs.run(specify("decrypt", maildir))) == {State.CHECKPOINTED: 1}
    encrypted = jobs.run(specify("encrypt", maildir))
    assert (counts(encrypted), encrypted.exit_code) == ({State.REENCRYPTED: 1}, 0)
    after = only(maildir)
    assert opened_by(after, keys.new) == [TEXT]
    assert opened_by(after, keys.old) == []
    assert without_envelope(after) == without_envelope(before)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    old = KeySpecification((keys.history,))
    verified = jobs.run(specify("verify", None, verify_keys=new, retire=old))
    assert counts(verified) == {State.VERIFIED: 1}
    jobs.run(specify("rollback", None))
    assert only(maildir) == before


def without_envelope(raw: bytes) -> bytes:
    """A message less the base64 and the fields of the encrypted parts in it."""
    lines = raw.split(b"\n")
    kept = [
        line
        for line in lines
        if not line.lower().startswith((b"content-", b" name=", b" filename="))
        and not (len(line) > 20 and b" " not in line and b":" not in line and b"<" not in line)
    ]
    return b"\n".join(line for line in kept if line and not line.endswith(b"="))


@pytest.mark.parametrize("choice", [{}, {"nested": True}, {"wrapped": True}])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_plaintext_never_stands_among_other_parts(
    name: str, choice: Fields, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    before = deliver(maildir, message(1, SURROUNDINGS[name](encrypt(TEXT, keys.old))))
    jobs.run(specify("decrypt", maildir))
    # Also where the job took it before.
    summary = jobs.run(
        specify("decrypt", maildir, **fitting("decrypt", {"in_place": True}, choice))
    )
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 1}, 3)
    assert "stays encrypted" in summary.not_done[0].reason
    assert only(maildir) == before


def test_a_plaintext_stands_beside_the_footer_of_a_list_only_when_asked_for(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    listed = multipart(encrypt(TEXT, keys.old), FOOTER)
    before = deliver(maildir, message(1, listed, LIST_ID))
    stays = jobs.run(specify("decrypt", maildir, in_place=True))
    assert "--wrapped" in stays.not_done[0].reason
    assert only(maildir) == before
    summary = jobs.run(specify("decrypt", maildir, in_place=True, wrapped=True))
    assert counts(summary) == {State.DECRYPTED: 1}
    assert b"blue folder" in only(maildir)
    jobs.run(specify("encrypt", maildir))
    assert opened_by(only(maildir), keys.new) == [TEXT]
    # To go back to it needs no option: the job knows.
    back = specify("rollback", None, to_stage="decrypted")
    assert counts(jobs.run(back)) == {State.DECRYPTED: 1}


def test_a_layer_among_other_parts_inside_keeps_its_message_encrypted_in_place(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    inside = multipart(encrypt(TEXT, keys.old), HTML, boundary=b"inner")
    before = deliver(maildir, message(1, encrypt(inside, keys.old)))
    summary = jobs.run(specify("decrypt", maildir, in_place=True, nested=True, wrapped=True))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert only(maildir) == before


# --- encrypted files ----------------------------------------------------------------------


def test_an_encrypted_attachment_stays_a_file_of_its_name_for_the_new_key(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, message(1, multipart(FOOTER, document(encrypt(TEXT, keys.old)))))
    scanned = jobs.run(specify("scan", maildir))
    assert (counts(scanned), scanned.documents) == ({State.READABLE: 1}, 1)
    assert any("--leave-attachments" in line for line in as_table(scanned))
    assert as_json(scanned)["encrypted_attachments"] == 1
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    after = only(maildir)
    assert opened_by(after, keys.new) == [TEXT]
    assert after.count(b"report.pdf.p7m") == 2
    assert b"application/octet-stream" in after
    assert b"smime-type" not in after


def test_an_encrypted_attachment_is_left_when_asked_for_and_needs_the_old_key(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    part, file = encrypt(TEXT, keys.old), document(encrypt(TEXT, keys.old))
    deliver(maildir, message(1, multipart(part, file)))
    choice = smime.PartSelection(leave_attachments=True)
    jobs.run(specify("decrypt", maildir, part_selection=choice))
    summary = jobs.run(specify("encrypt", maildir))
    assert (counts(summary), summary.exit_code) == ({State.REENCRYPTED: 1}, 3)
    (left,) = summary.left_parts
    assert (left.part, "--leave-attachments" in left.reason) == ("2", True)
    assert len(summary.needs_old_keys) == 1
    assert opened_by(only(maildir), keys.new) == opened_by(only(maildir), keys.old) == [TEXT]


@pytest.mark.parametrize("kind", ["part", "document"])
def test_what_a_detached_signature_beside_it_may_be_over_stays(
    kind: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    part = encrypt(TEXT, keys.old)
    signed = document(part) if kind == "document" else part
    before = deliver(maildir, message(1, multipart(FOOTER, signed, SIGNATURE)))
    for choice in (smime.PartSelection(), smime.PartSelection(break_signatures=True)):
        summary = jobs.run(specify("decrypt", maildir, part_selection=choice))
        assert (counts(summary), summary.exit_code) == ({State.UNSUPPORTED: 1}, 3)
        assert "detached signature" in summary.not_done[0].reason
    jobs.run(specify("encrypt", maildir, partial=True))
    assert only(maildir) == before


# --- each alone ----------------------------------------------------------------------------


def pgp() -> bytes:
    return b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"


@pytest.mark.parametrize("other", ["a stranger's", "OpenPGP", "damaged"])
def test_what_opens_is_taken_and_what_does_not_stays_byte_for_byte(
    other: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    strange = encrypt(b"Content-Type: text/plain\r\n\r\nnot for us\r\n", keys.stranger)
    part = {"a stranger's": strange, "OpenPGP": pgp(), "damaged": strange[:900]}[other]
    mine = encrypt(TEXT, keys.old)
    before = deliver(maildir, message(1, multipart(FOOTER, part, mine)))
    decrypted = jobs.run(specify("decrypt", maildir))
    assert (counts(decrypted), decrypted.exit_code) == ({State.CHECKPOINTED: 1}, 0)
    encrypted = jobs.run(specify("encrypt", maildir))
    assert (counts(encrypted), encrypted.exit_code) == ({State.REENCRYPTED: 1}, 0)
    after = only(maildir)
    assert opened_by(after, keys.new) == [TEXT]
    start, end = before.index(stored(part)), before.index(stored(part)) + len(stored(part))
    assert before[:end] == after[:end]
    assert stored(part) == after[start:end]
    for summary in (decrypted, encrypted):
        left = {one.part for one in summary.left_parts}
        assert left == {"2"}
        assert not summary.needs_old_keys
        assert as_json(summary)["left_parts"][0]["part"] == "2"
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    verified = jobs.run(specify("verify", None, verify_keys=new))
    assert counts(verified) == {State.VERIFIED: 1}
    jobs.run(specify("rollback", None))
    assert only(maildir) == before


def test_a_part_that_names_a_key_of_the_owner_and_does_not_open_ends_the_run_with_3(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    mine = encrypt(TEXT, keys.old, options=("-aes-256-gcm",))
    header, _, body = mine.partition(b"\r\n\r\n")
    der = bytearray(base64.b64decode(body))
    der[-1] ^= 1  # of the tag
    torn = header + b"\r\n\r\n" + base64.encodebytes(bytes(der))
    deliver(maildir, message(1, multipart(mine, torn)))
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir))
    assert (counts(summary), summary.exit_code) == ({State.REENCRYPTED: 1}, 3)
    assert [one.part for one in summary.left_parts] == ["2"]


def test_a_part_that_a_key_added_later_opens_joins_its_message(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, message(1, multipart(encrypt(TEXT, keys.old), encrypt(TEXT, keys.stranger))))
    assert len(jobs.run(specify("decrypt", maildir)).left_parts) == 1
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    # Fewer keys take nothing back.
    for history in (both, KeySpecification((keys.history,))):
        summary = jobs.run(specify("decrypt", maildir, keys=history))
        assert (counts(summary), summary.left_parts) == ({State.CHECKPOINTED: 1}, [])
    jobs.run(specify("encrypt", maildir))
    assert opened_by(only(maildir), keys.new) == [TEXT, TEXT]


@pytest.mark.parametrize("operation", ["decrypt", "rewrap"])
def test_a_key_that_comes_when_its_message_is_replaced_is_asked_for_another_job(
    operation: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, message(1, multipart(encrypt(TEXT, keys.old), encrypt(TEXT, keys.stranger))))
    if operation == "decrypt":
        jobs.run(specify("decrypt", maildir))
    replaced = jobs.run(specify("encrypt" if operation == "decrypt" else "rewrap", maildir))
    assert (replaced.exit_code, replaced.needs_old_keys) == (0, [])
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    for history in (both, KeySpecification((keys.history,))):
        summary = jobs.run(specify(operation, maildir, keys=history))
        state = State.REENCRYPTED if operation == "decrypt" else State.REWRAPPED
        assert (counts(summary), summary.exit_code) == ({state: 1}, 3)
        assert "another job" in summary.left_parts[0].reason
        assert summary.needs_old_keys[0].reason == summary.left_parts[0].reason
    again = specify("rewrap", maildir, keys=both, job=tmp_path / "another")
    assert jobs.run(again).exit_code == 0
    assert opened_by(only(maildir), keys.new) == [TEXT, TEXT]


def test_who_is_named_by_a_part_that_stays_loses_no_access(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, message(1, multipart(encrypt(TEXT, keys.old), encrypt(TEXT, keys.stranger))))
    jobs.run(specify("decrypt", maildir))
    for dry_run in (True, False):
        summary = jobs.run(specify("encrypt", maildir, dry_run=dry_run))
        assert (len(summary.left_parts), summary.losing_access) == (1, {})
    assert len(summary.keys) == 2


def test_a_copy_of_a_message_with_a_part_that_stays_joins_the_job(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    deliver(maildir, message(1, multipart(encrypt(TEXT, keys.old), encrypt(TEXT, keys.stranger))))
    jobs.run(specify("decrypt", maildir))
    shutil.copy(maildir / NAME, maildir / "cur/1400000000.M9P1.host:2,")
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {State.REENCRYPTED: 2}
    assert [one.part for one in summary.left_parts] == ["2", "2"]
    for path in (maildir / "cur").iterdir():
        assert opened_by(path.read_bytes(), keys.new) == [TEXT]


def test_rewrap_takes_what_opens_and_leaves_the_rest(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    parts = [encrypt(TEXT, keys.old), encrypt(TEXT, keys.stranger)]
    parts.append(encrypt(TEXT, keys.old, options=("-des3",)))
    deliver(maildir, message(1, multipart(*parts)))
    summary = jobs.run(specify("rewrap", maildir))
    assert counts(summary) == {State.REWRAPPED: 1}
    assert [one.part for one in summary.left_parts] == ["2", "3"]
    # The third names a key of the owner's, and stays.
    assert summary.exit_code == 3
    assert opened_by(only(maildir), keys.new) == [TEXT]
    assert opened_by(only(maildir), keys.old) == [TEXT]
