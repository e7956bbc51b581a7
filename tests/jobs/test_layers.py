"""Encrypted layers that are not the whole body of a message: what a move makes of each."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from sectool import budget, jobs, smime
from sectool.cli.words.render import as_json, as_table
from sectool.cms import Profile
from sectool.jobs.work import search_layers
from sectool.keys import KeySpecification
from sectool.message import BytesContent
from sectool.outcome import RecipientKey, State
from sectool.progress import NoProgress
from sectool.retirement import Answer
from sectool.summary import NeedsOldKeys, Summary
from tests.support import checker, crash
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
from tests.support.signing import Signatory, make_signatory, sign as openssl_sign
from tests.support.specifications import Specify

NAME = "cur/1300000001.M1P1.host:2,S"

Deliver = Callable[..., Path]


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """A Maildir of these messages."""

    def deliver(*messages: bytes) -> Path:
        maildir = tmp_path / "Maildir"
        names = [NAME, *(f"cur/130000000{n}.M{n}P1.host:2,S" for n in range(2, len(messages) + 1))]
        fill(
            maildir,
            [Mail("", name, stored(raw)) for name, raw in zip(names, messages, strict=True)],
        )
        return maildir

    return deliver


class Warnings(NoProgress):
    """Remembers what a person was warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.warnings.append(text)


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def reason(summary: Summary) -> str:
    (entry,) = summary.not_done
    return entry.reason


def stored_bytes(maildir: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (maildir / "cur").iterdir())


def only(maildir: Path) -> bytes:
    (path,) = (maildir / "cur").iterdir()
    return path.read_bytes()


# --- a mailing list's footer ---------------------------------------------------------


@pytest.fixture
def listed(keys: Keys) -> bytes:
    return message(1, multipart(encrypt(TEXT, keys.old), FOOTER), LIST_ID)


def test_mail_with_a_list_footer_is_moved_and_the_footer_stays(
    listed: bytes, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(listed)
    assert counts(jobs.run(specify("scan", maildir))) == {State.READABLE: 1}
    assert counts(jobs.run(specify("decrypt", maildir))) == {State.CHECKPOINTED: 1}
    before = only(maildir)
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}
    after = only(maildir)
    assert after.partition(b"--outer\n")[0] == before.partition(b"--outer\n")[0]
    assert after.rpartition(b"--outer\n")[2] == before.rpartition(b"--outer\n")[2]
    (envelope,) = checker.envelopes(after)
    assert checker.opened(envelope, keys.new) == TEXT
    assert checker.opened(envelope, keys.old) is None
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    summary = jobs.run(specify("verify", maildir, verify_keys=new))
    assert counts(summary) == {State.VERIFIED: 1}


# --- layers that stay ----------------------------------------------------------------


@pytest.fixture(scope="module")
def signatory(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    return make_signatory(tmp_path_factory.mktemp("signatory"), "alice")


def sign(signatory: Signatory, entity: bytes, *, opaque: bool) -> bytes:
    signed = openssl_sign(signatory, entity, *(["-nodetach"] if opaque else []))
    return signed.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def needed(summary: Summary) -> list[NeedsOldKeys]:
    return summary.needs_old_keys


def names_of(certificate: Path) -> RecipientKey:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    digits = f"{loaded.serial_number:x}"
    return RecipientKey(loaded.issuer.rfc4514_string(), "0" * (len(digits) % 2) + digits, "")


def checkpoints(tmp_path: Path) -> set[bytes]:
    """The plaintexts that the job keeps."""
    found = set()
    for path in (tmp_path / "job" / "checkpoints").glob("*.eml"):
        raw = path.read_bytes()
        offset = re.search(rb"inner-offset=(\d+)", raw)
        assert offset is not None
        found.add(raw[int(offset[1]) :])
    return found


@pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
def test_a_layer_under_a_signature_stays_and_its_plaintext_is_kept(
    opaque: bool,
    signatory: Signatory,
    deliver: Deliver,
    specify: Specify,
    keys: Keys,
    tmp_path: Path,
) -> None:
    maildir = deliver(message(1, sign(signatory, encrypt(TEXT, keys.old), opaque=opaque)))
    before = only(maildir)
    runs = [specify("scan", maildir), specify("decrypt", maildir), specify("encrypt", maildir)]
    for spec in [*runs, specify("decrypt", maildir), specify("verify", maildir)]:
        summary = jobs.run(spec)
        assert counts(summary) == {State.UNDER_SIGNATURE: 1}
        (entry,) = needed(summary)
        assert (entry.state, entry.keys) == (
            State.UNDER_SIGNATURE,
            (names_of(keys.old.certificate),),
        )
        assert "signature" in entry.reason
        assert summary.exit_code == 3
    assert only(maildir) == before
    assert checkpoints(tmp_path) == {TEXT}


@pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
def test_a_key_that_only_a_layer_under_a_signature_needs_may_not_be_destroyed(
    opaque: bool, signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(message(1, sign(signatory, encrypt(TEXT, keys.old), opaque=opaque)))
    jobs.run(specify("decrypt", maildir))
    old = KeySpecification((keys.history,))
    summary = jobs.run(specify("verify", maildir, retire=old))
    assert summary.retire is not None
    (answer,) = summary.retire
    assert (answer.needed, answer.answer) == (1, Answer.NEEDED)


BREAKING = smime.PartSelection(break_signatures=True)


def test_a_layer_under_a_clear_signature_is_moved_when_asked_for_and_all_else_stays(
    signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    entity = encrypt(TEXT, keys.old)
    maildir = deliver(message(1, sign(signatory, entity, opaque=False)))
    jobs.run(specify("decrypt", maildir))
    before = only(maildir)
    # Another choice than before is tried although nothing else changed.
    decrypted = jobs.run(specify("decrypt", maildir, part_selection=BREAKING))
    assert (counts(decrypted), decrypted.exit_code) == ({State.CHECKPOINTED: 1}, 0)
    assert (decrypted.needs_old_keys, decrypted.voided_signatures) == ([], 0)
    encrypted = jobs.run(specify("encrypt", maildir))
    assert (counts(encrypted), encrypted.exit_code) == ({State.REENCRYPTED: 1}, 0)
    assert encrypted.voided_signatures == as_json(encrypted)["voided_signatures"] == 1
    assert "signatures that --break-signatures made void: 1" in list(as_table(encrypted))
    after = only(maildir)
    whole, replaced = (smime.take_inventory(BytesContent(raw)).parts for raw in (before, after))
    assert after[: replaced[0].header.start] == before[: whole[0].header.start]
    assert after[replaced[0].body_end :] == before[whole[0].body_end :]
    assert checker.opened(checker.envelopes(after)[0], keys.new) == TEXT
    check = smime.check_signature(BytesContent(after))
    assert check is not None
    assert not check.is_valid


def test_an_envelope_stands_where_the_opaque_signature_around_it_stood_when_asked_for(
    signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    signed = sign(signatory, encrypt(TEXT, keys.old), opaque=True)
    maildir = deliver(message(1, signed), message(2, forward(message(3, signed))))
    before = stored_bytes(maildir)
    jobs.run(specify("decrypt", maildir, part_selection=BREAKING))
    summary = jobs.run(specify("encrypt", maildir))
    assert (counts(summary), summary.voided_signatures) == ({State.REENCRYPTED: 2}, 2)
    for raw in stored_bytes(maildir):
        (envelope,) = checker.envelopes(raw)
        assert checker.opened(envelope, keys.new) == TEXT
        assert b"signed-data" not in raw
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    verified = jobs.run(specify("verify", maildir, verify_keys=new))
    assert counts(verified) == {State.VERIFIED: 2}
    jobs.run(specify("rollback", None))
    assert stored_bytes(maildir) == before


def test_what_an_opaque_signature_does_not_cover_alone_stays_sealed_even_when_asked_for(
    signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    among = multipart(encrypt(TEXT, keys.old), FOOTER, boundary=b"mixed")
    signature = sign(signatory, among, opaque=True)
    nested = sign(signatory, multipart(signature, FOOTER, boundary=b"around"), opaque=True)
    maildir = deliver(message(1, signature), message(2, nested))
    for _ in range(2):  # the second run reads what the first one wrote into the log
        summary = jobs.run(specify("decrypt", maildir, part_selection=BREAKING))
        assert counts(summary) == {State.UNDER_SIGNATURE: 2}
        assert not any("--break-signatures" in entry.reason for entry in summary.not_done)


@pytest.mark.parametrize("form", ["signature in a signature", "forward", "signed forward"])
def test_what_a_signature_covers_as_a_whole_is_taken_wherever_it_lies(
    form: str, signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    entity = encrypt(TEXT, keys.old)
    signed = sign(signatory, entity, opaque=False)
    whole = {
        "signature in a signature": sign(signatory, signed, opaque=False),
        "forward": forward(message(2, signed)),
        "signed forward": sign(signatory, forward(message(2, entity)), opaque=False),
    }[form]
    maildir = deliver(message(1, whole))
    jobs.run(specify("decrypt", maildir, part_selection=BREAKING))
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert checker.opened(checker.envelopes(only(maildir))[0], keys.new) == TEXT


def nested(keys: Keys, signatory: Signatory) -> dict[str, tuple[bytes, set[bytes]]]:
    """Plaintexts with an encrypted layer in them, each with all that can be opened."""
    inner = encrypt(TEXT, keys.old)
    forwarded = forward(message(2, inner))
    mixed = multipart(FOOTER, forwarded, boundary=b"mixed")
    twice = encrypt(inner, keys.old)
    clear, opaque = (sign(signatory, inner, opaque=one) for one in (False, True))
    encoded = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    encoded += base64.encodebytes(message(2, inner))
    return {
        "envelope in envelope": (inner, {inner, TEXT}),
        "three envelopes": (twice, {twice, inner, TEXT}),
        "forward": (forwarded, {forwarded, TEXT}),
        "forward among parts": (mixed, {mixed, TEXT}),
        "triple wrap": (clear, {clear, TEXT}),
        "triple wrap, opaque": (opaque, {opaque, TEXT}),
        "encoded forward": (encoded, {encoded, TEXT}),
        "sandwich": (multipart(FOOTER, inner), {multipart(FOOTER, inner), TEXT}),
    }


RESEALED = [
    "envelope in envelope",
    "three envelopes",
    "forward",
    "forward among parts",
    "sandwich",
]
KEPT = ["triple wrap", "triple wrap, opaque", "encoded forward"]


@pytest.mark.parametrize("name", RESEALED + KEPT)
def test_every_layer_inside_is_opened_and_kept_as_a_checkpoint(
    name: str,
    signatory: Signatory,
    deliver: Deliver,
    specify: Specify,
    keys: Keys,
    tmp_path: Path,
) -> None:
    plaintext, wanted = nested(keys, signatory)[name]
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert checkpoints(tmp_path) == wanted


@pytest.mark.parametrize("name", KEPT)
def test_a_message_with_a_layer_that_keeps_its_recipients_is_moved_and_needs_the_old_key(
    name: str, signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    plaintext, _ = nested(keys, signatory)[name]
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    scanned = jobs.run(specify("scan", maildir))
    jobs.run(specify("decrypt", maildir))
    encrypted = jobs.run(specify("encrypt", maildir))
    assert counts(encrypted) == {State.REENCRYPTED: 1}
    assert encrypted.exit_code == 3
    for summary in (scanned, encrypted):
        (entry,) = needed(summary)
        assert entry.keys == (names_of(keys.old.certificate),)
    (envelope,) = checker.envelopes(only(maildir))
    assert checker.opened(envelope, keys.new) == plaintext
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    old = KeySpecification((keys.history,))
    verified = jobs.run(specify("verify", maildir, verify_keys=new, retire=old))
    assert counts(verified) == {State.VERIFIED: 1}
    assert verified.retire is not None
    (answer,) = verified.retire
    assert (answer.needed, answer.answer) == (1, Answer.NEEDED)


def test_a_layer_inside_that_no_key_opens_costs_its_message_nothing(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    inner = encrypt(TEXT, keys.stranger)
    maildir = deliver(message(1, encrypt(inner, keys.old)))
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    (entry,) = needed(summary)
    stranger = names_of(keys.stranger.certificate)
    assert entry.keys == (stranger,)
    assert "not opened" in entry.reason
    assert stranger in summary.keys
    assert stranger not in summary.keys_in_history
    assert checkpoints(tmp_path) == {inner}


def test_a_key_added_later_opens_a_layer_inside_and_fewer_keys_take_nothing_back(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    to_oneself = message(1, encrypt(encrypt(TEXT, keys.stranger), keys.old))
    maildir = deliver(to_oneself, to_oneself)
    assert len(needed(jobs.run(specify("decrypt", maildir)))) == 2
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    fewer = KeySpecification((keys.history,))
    for history in (both, fewer, both):
        summary = jobs.run(specify("decrypt", maildir, keys=history))
        assert (counts(summary), needed(summary)) == ({State.CHECKPOINTED: 2}, [])
    encrypted = jobs.run(specify("encrypt", maildir))
    assert (counts(encrypted), encrypted.exit_code) == ({State.REENCRYPTED: 2}, 0)
    for path in (maildir / "cur").iterdir():
        assert opened_layers(path.read_bytes(), keys.new)[-1] == TEXT


def test_a_damaged_layer_inside_costs_its_message_nothing_and_needs_the_old_key(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    inner = encrypt(TEXT, keys.old)
    maildir = deliver(message(1, encrypt(inner[: len(inner) // 2], keys.old)))
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert (len(needed(summary)), summary.exit_code) == (1, 3)


def test_envelopes_beyond_the_bound_are_told_and_not_opened(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    entity = TEXT
    for _ in range(search_layers.DEEPEST + 3):
        entity = encrypt(entity, keys.old)
    summary = jobs.run(specify("decrypt", deliver(message(1, entity))))
    assert counts(summary) == {State.CHECKPOINTED: 1}
    assert len(checkpoints(tmp_path)) == search_layers.DEEPEST + 1
    assert len(needed(summary)) == 1


def test_a_message_with_more_layers_than_the_limit_allows_is_told_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    limits = {**budget.MESSAGE, budget.Work.PRIVATE_KEY: 3}
    monkeypatch.setattr(budget, "MESSAGE", limits)
    inner = forward(message(2, encrypt(TEXT, keys.old)))
    plaintext = multipart(*[inner] * 5, boundary=b"mixed")
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {State.UNSUPPORTED: 1}
    (entry,) = summary.not_done
    assert entry.reason == (
        "beyond the limit of 3 private-key operations; --limit-factor 10 tries harder"
    )
    assert not checkpoints(tmp_path)
    again = jobs.run(specify("decrypt", maildir, limit_factor=2))
    assert counts(again) == {State.CHECKPOINTED: 1}
    assert checkpoints(tmp_path) == {plaintext, TEXT}


def test_a_copy_that_joins_the_job_needs_the_same_old_keys(
    deliver: Deliver, specify: Specify, keys: Keys, signatory: Signatory
) -> None:
    sealed = sign(signatory, encrypt(TEXT, keys.old), opaque=False)
    maildir = deliver(message(1, encrypt(sealed, keys.old)))
    jobs.run(specify("decrypt", maildir))
    shutil.copy(maildir / NAME, maildir / "cur/1400000000.M9P1.host:2,")
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {State.REENCRYPTED: 2}
    assert [entry.keys for entry in needed(summary)] == [(names_of(keys.old.certificate),)] * 2


def test_purging_keeps_the_plaintext_of_layers_that_stay_and_warns(
    deliver: Deliver, specify: Specify, keys: Keys, signatory: Signatory, tmp_path: Path
) -> None:
    plaintext = sign(signatory, encrypt(TEXT, keys.old), opaque=False)
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    progress = Warnings()
    summary = jobs.run(specify("purge", None, accept_unproven=True), progress)
    assert summary.exit_code == 3
    assert "messages that an old key is still needed for: 1" in progress.warnings
    # Nor is it advised to give them up.
    assert not [text for text in progress.warnings if "not replaced" in text]
    assert checkpoints(tmp_path) == {TEXT}
    assert (counts(summary), summary.job_data_removed) == ({State.REENCRYPTED: 1}, 1)
    summary = jobs.run(specify("purge", None, abandon=True))
    assert checkpoints(tmp_path) == set()
    assert len(needed(summary)) == 1


def test_what_is_acknowledged_fails_no_run(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.stranger), keys.old)))
    (entry,) = needed(jobs.run(specify("decrypt", maildir)))
    known = tmp_path / "known.txt"
    known.write_text(f"{entry.identity}\n")
    progress = Warnings()
    summary = jobs.run(specify("encrypt", maildir, acknowledge=known), progress)
    assert summary.exit_code == 0
    assert [one.acknowledged for one in needed(summary)] == [True]
    assert not progress.warnings


def test_json_and_table_list_the_messages_that_need_old_keys(
    deliver: Deliver, specify: Specify, keys: Keys, signatory: Signatory
) -> None:
    sealed = sign(signatory, encrypt(TEXT, keys.old), opaque=False)
    maildir = deliver(message(1, encrypt(sealed, keys.old)))
    summary = jobs.run(specify("decrypt", maildir))
    (entry,) = as_json(summary)["needs_old_keys"]
    key = names_of(keys.old.certificate)
    assert entry["keys"] == [
        {
            "issuer": key.issuer,
            "serial_number": key.serial_number,
            "subject_key_identifier": "",
            "in_history": True,
        }
    ]
    assert (entry["state"], entry["message_id"]) == ("checkpointed", "<1@example.org>")
    assert "done, but in need of an old key (1)" in list(as_table(summary))


def test_a_new_place_without_the_key_of_a_layer_inside_is_not_safe(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.stranger), keys.old)))
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    verdicts = [
        jobs.run(specify("scan", maildir, new_keys=new)).preflight
        for new in (KeySpecification((keys.history,)), both)
    ]
    assert [verdict and verdict.safe_to_move for verdict in verdicts] == [False, True]
    assert [verdict and verdict.unreadable_after_decrypting for verdict in verdicts] == [1, 0]


# --- layers that are encrypted again ---------------------------------------------------


def opened_layers(raw: bytes, key: checker.Key) -> list[bytes]:
    """The plaintexts of all layers that this key opens by itself, outermost first."""
    found = []
    for envelope in checker.envelopes(raw):
        plaintext = checker.opened(envelope, key)
        if plaintext is not None:
            found += [plaintext, *opened_layers(plaintext, key)]
    return found


def around(plaintext: bytes) -> bytes:
    """A plaintext without the envelopes in it and the fields that describe them."""
    fields = rb"^content-(type: application/pkcs7-mime|transfer-encoding: base64|disp).*\r\n"
    envelopes = rb"^[A-Za-z0-9+/=]+\r\n|" + fields + rb"([ \t].*\r\n)*"
    rest = re.sub(envelopes, b"", plaintext, flags=re.IGNORECASE | re.MULTILINE)
    return re.sub(rb"(\r\n)+", b"\r\n", rest)  # base64 may end with blank lines


@pytest.mark.parametrize("profile", [Profile.COMPATIBLE, Profile.MODERN])
@pytest.mark.parametrize("name", RESEALED)
def test_every_layer_inside_gets_the_new_recipients_and_all_else_stays(
    name: str,
    profile: Profile,
    signatory: Signatory,
    deliver: Deliver,
    specify: Specify,
    keys: Keys,
) -> None:
    plaintext, _ = nested(keys, signatory)[name]
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    before = opened_layers(only(maildir), keys.old)
    decrypted = jobs.run(specify("decrypt", maildir))
    encrypted = jobs.run(specify("encrypt", maildir, profile=profile))
    for summary in (decrypted, encrypted):
        assert (summary.exit_code, summary.needs_old_keys) == (0, [])
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    old = KeySpecification((keys.history,))
    verified = jobs.run(specify("verify", maildir, verify_keys=new, retire=old))
    assert counts(verified) == {State.VERIFIED: 1}
    assert verified.retire is not None
    (answer,) = verified.retire
    assert (answer.needed, answer.answer) == (0, Answer.NOT_NEEDED)
    if profile is Profile.COMPATIBLE:  # openssl opens no other by its command
        after = opened_layers(only(maildir), keys.new)
        assert len(after) == len(before)
        assert after[-1] == before[-1] == TEXT
        assert list(map(around, after)) == list(map(around, before))
        assert opened_layers(only(maildir), keys.old) == []


def test_what_lies_beside_a_layer_is_kept_byte_for_byte(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    # Odd line ends and fields, 8-bit bytes, no end of the last line.
    odd = b"X-Odd:  \xe4\r\n \tfolded \r\nContent-Type: application/data\r\n\r\n\n\r\r\n\xff"
    fields = b"subject:x\r\nContent-ID: <a@b>\r\nX-Kept:yes\r\n"
    forwarded = forward(message(2, encrypt(TEXT, keys.old), fields))
    plaintext = multipart(odd, forwarded, odd, boundary=b"mixed") + b"epilogue"
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    jobs.run(specify("decrypt", maildir))
    assert counts(jobs.run(specify("encrypt", maildir))) == {State.REENCRYPTED: 1}
    after, text = opened_layers(only(maildir), keys.new)
    start, end = plaintext.index(b"subject:x"), plaintext.rindex(b"--mixed\r\nX-Odd")
    assert after.startswith(plaintext[:start] + b"subject:x\r\n")
    assert b"X-Kept:yes\r\n" in after
    assert after.endswith(plaintext[end:])
    assert text == TEXT


def test_only_the_layers_that_may_be_are_encrypted_again(
    signatory: Signatory, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    inner = encrypt(TEXT, keys.old)
    sealed = sign(signatory, encrypt(b"\r\nsigned", keys.old), opaque=False)
    plaintext = multipart(forward(message(2, inner)), forward(message(3, sealed)), boundary=b"m")
    maildir = deliver(message(1, encrypt(plaintext, keys.old)))
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir))
    assert (counts(summary), summary.exit_code) == ({State.REENCRYPTED: 1}, 3)
    assert len(needed(summary)) == 1
    (envelope,) = checker.envelopes(only(maildir))
    after = checker.opened(envelope, keys.new)
    assert after is not None
    assert sealed in after
    opened = [checker.opened(one, keys.new) for one in checker.envelopes(after)]
    assert opened[0] == TEXT
    assert not any(opened[1:])


def test_a_message_with_layers_can_be_rolled_back_and_moved_again(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.old), keys.old)))
    before = only(maildir)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    for _ in range(2):
        jobs.run(specify("decrypt", maildir))
        jobs.run(specify("encrypt", maildir))
        summary = jobs.run(specify("verify", maildir, verify_keys=new, deep=True))
        assert counts(summary) == {State.VERIFIED: 1}
        jobs.run(specify("rollback", None))
        assert only(maildir) == before


def test_a_message_with_layers_that_was_lost_is_put_back_with_new_layers(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(
        message(1, encrypt(encrypt(TEXT, keys.old), keys.old)),
        message(2, encrypt(TEXT, keys.old)),
    )
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    stored = (path for path in (maildir / "cur").iterdir() if b"<1@" in path.read_bytes())
    next(stored).unlink()
    jobs.run(specify("encrypt", maildir, restore_lost=True))
    (path,) = maildir.glob(".Recovered/*/*")
    assert opened_layers(path.read_bytes(), keys.new)[-1] == TEXT
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    verified = jobs.run(specify("verify", maildir, verify_keys=new))
    assert counts(verified) == {State.VERIFIED: 2}


def test_a_checkpoint_of_a_layer_that_was_altered_stops_its_message(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.old), keys.old)))
    jobs.run(specify("decrypt", maildir))
    before = only(maildir)
    for path in (tmp_path / "job/checkpoints").glob("*.eml"):
        raw = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(raw.replace(b"blue folder", b"grey folder"))
    summary = jobs.run(specify("encrypt", maildir))
    assert (counts(summary), summary.exit_code) == ({State.FAILED: 1}, 16)
    assert only(maildir) == before


# Budget: 5 seconds.
def test_encrypt_killed_at_every_point_ends_with_layers_that_open(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    place = tmp_path / "trial"
    place.mkdir()
    job = place / "job"
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.old), keys.old)))
    maildir = maildir.rename(place / "Maildir")
    jobs.run(specify("decrypt", maildir, job=job))
    spec = specify("encrypt", maildir, job=job)
    for where in crash.Trial(place, whole=whole, beside=True).kills(spec):
        assert counts(jobs.run(spec)) == {State.REENCRYPTED: 1}, where
        assert opened_layers(only(maildir), keys.new)[-1] == TEXT, where
        summary = jobs.run(specify("verify", maildir, job=job, verify_keys=new))
        assert counts(summary) == {State.VERIFIED: 1}, where


def test_layers_are_encrypted_again_from_sealed_checkpoints(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = deliver(message(1, encrypt(encrypt(TEXT, keys.old), keys.old)))
    jobs.run(specify("decrypt", maildir, seal_to=(keys.transport.certificate,)))
    assert len(list((tmp_path / "job/checkpoints").glob("*.p7m"))) == 2
    opening = KeySpecification((keys.transport.private_key,))
    summary = jobs.run(specify("encrypt", maildir, seal_keys=opening))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert opened_layers(only(maildir), keys.new)[-1] == TEXT


def test_exchanging_recipients_leaves_the_layers_inside_and_says_so(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    inner = encrypt(TEXT, keys.old)
    maildir = deliver(message(1, encrypt(inner, keys.old)))
    summary = jobs.run(specify("rewrap", maildir))
    assert (counts(summary), summary.exit_code) == ({State.REWRAPPED: 1}, 3)
    assert [entry.keys for entry in needed(summary)] == [(names_of(keys.old.certificate),)]
    assert opened_layers(only(maildir), keys.new) == [inner]


@pytest.mark.parametrize("operation", ["encrypt", "rewrap"])
def test_a_digest_of_many_encrypted_messages_is_moved_part_by_part(
    operation: str, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    forwards = [forward(message(number, encrypt(TEXT, keys.old))) for number in range(2, 15)]
    maildir = deliver(message(1, multipart(*forwards)))
    if operation == "encrypt":
        jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify(operation, maildir))
    state = State.REENCRYPTED if operation == "encrypt" else State.REWRAPPED
    assert (counts(summary), summary.exit_code) == ({state: 1}, 0)
    assert opened_layers(only(maildir), keys.new) == [TEXT] * len(forwards)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    summary = jobs.run(specify("verify", maildir, verify_keys=new))
    assert counts(summary) == {State.VERIFIED: 1}
