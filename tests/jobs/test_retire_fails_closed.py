"""verify --retire counts what may need a key: cut, damaged, over a limit, unreadable, gone."""

from __future__ import annotations

import base64
import binascii
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import pytest

from sectool import budget, jobs
from sectool.asn1 import der
from sectool.jobs.work import pool
from sectool.keys import KeySpecification
from sectool.retirement import Answer, Claim
from sectool.summary import RetiredKey
from tests.support.checker import Key
from tests.support.layers import (
    TEXT,
    clear_signed,
    encrypt,
    forward,
    message,
    multipart,
    stored,
)
from tests.support.mailboxes import Keys, Mail, encrypted, fill, openssl
from tests.support.odd_envelopes import Envelope, deep_attributes, entity, opens, stranger
from tests.support.specifications import Fields, Specify, fitting

PLAIN = b"Content-Type: text/plain\r\n\r\ntext\r\n"

Retire = Callable[..., RetiredKey]
"""Delivers mail to a mailbox that was moved, and answers for its old key."""


def history(*keys: Key) -> KeySpecification:
    paths = (path for key in keys for path in (key.certificate, key.private_key))
    return KeySpecification(tuple(paths))


@pytest.fixture
def moved(tmp_path: Path, specify: Specify, keys: Keys) -> Path:
    """A mailbox whose only message was moved, and proven with the new key."""
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000000.M0P1.host:2,S", encrypted(1, keys.old))])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, verify_keys=history(keys.new)))
    return maildir


@pytest.fixture
def retire(moved: Path, specify: Specify, keys: Keys) -> Retire:
    def retire(*messages: bytes, **changes: Unpack[Fields]) -> RetiredKey:
        for number, raw in enumerate(messages, 2):
            (moved / "new" / f"150000000{number}.M{number}P1.host").write_bytes(raw)
        usual: Fields = {"retire": history(keys.old), "verify_keys": history(keys.new)}
        spec = specify("verify", moved, **fitting("verify", usual, changes))
        answers = jobs.run(spec).retire
        assert answers is not None
        (answer,) = answers
        return answer

    return retire


def only_claim(answer: RetiredKey) -> Claim:
    (claim,) = answer.claims
    return claim


# --- what openssl opens ---------------------------------------------------------------------


def crowd(envelope: Envelope, size: int = 20_000) -> bytes:
    strangers = map(stranger, range(size))
    return replace(envelope, recipients=(*strangers, *envelope.recipients)).encoded


def long_name(envelope: Envelope) -> bytes:
    long = stranger(1, name_size=17_000)
    return replace(envelope, recipients=(long, *envelope.recipients)).encoded


def long_name_last(envelope: Envelope) -> bytes:
    long = stranger(1, name_size=17_000)
    return replace(envelope, recipients=(*envelope.recipients, long)).encoded


def deep(envelope: Envelope) -> bytes:
    return replace(envelope, attributes=deep_attributes(50)).encoded


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (crowd, "body"),
        (long_name, "forwarded"),
        (long_name_last, "body"),
        (long_name_last, "inside"),
        (deep, "body"),
        (deep, "inside"),
    ],
)
def test_an_envelope_beyond_our_bounds_that_openssl_opens_is_never_not_needed(
    make: Callable[[Envelope], bytes], where: str, retire: Retire, keys: Keys
) -> None:
    cms = make(Envelope.to(keys.old))
    assert opens(cms, keys.old)
    body = entity(cms)
    if where == "forwarded":
        body = multipart(PLAIN, forward(message(3, body)), PLAIN)
    elif where == "inside":
        body = encrypt(body, keys.new)
    answer = retire(stored(message(2, body)))
    assert answer.answer is not Answer.NOT_NEEDED
    assert {claim.message_id for claim in answer.claims} == {"<2@example.org>"}


def test_a_certificate_nobody_gave_in_a_crowd_of_those_at_hand_is_never_overlooked(
    moved: Path, specify: Specify, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "renewed.crt"
    subject = ("-subj", "/CN=renewed", "-days", "365")
    openssl("req", "-x509", "-key", keys.stranger.private_key, *subject, "-out", certificate)
    renewed = Key(certificate, keys.stranger.private_key)
    both = Envelope.to(keys.old, keys.stranger)
    named, unknown = sorted(both.recipients, key=lambda one: b"stranger" in one)
    crowded = replace(both, recipients=(*[named] * 600, unknown)).encoded
    assert opens(crowded, keys.stranger)
    (moved / "new" / "1500000002.M2P1.host").write_bytes(stored(message(2, entity(crowded))))
    asked: Fields = {"retire": history(keys.old, renewed), "verify_keys": history(keys.new)}
    for most, said in ((10_000, {Answer.NEEDED}), (500, {Answer.NEEDED, Answer.UNCLEAR})):
        monkeypatch.setattr(budget, "MESSAGE", {**budget.MESSAGE, budget.Work.PRIVATE_KEY: most})
        answers = jobs.run(specify("verify", moved, **asked)).retire
        assert answers is not None
        assert {one.answer for one in answers} == said


@pytest.mark.parametrize("levels", [65, 100])
def test_an_envelope_deep_in_parts_is_never_not_needed(
    levels: int, retire: Retire, keys: Keys
) -> None:
    body = encrypt(TEXT, keys.old)
    for level in range(levels):
        body = multipart(body, boundary=b"b%d-" % level)
    answer = retire(stored(message(2, body)))
    assert answer.answer is not Answer.NOT_NEEDED


@pytest.mark.parametrize("cut", [1, 40, 300, 700])
def test_an_envelope_without_its_tail_is_never_not_needed(
    cut: int, retire: Retire, keys: Keys
) -> None:
    cms = Envelope.to(keys.old).encoded
    assert opens(cms, keys.old)
    answer = retire(stored(message(2, entity(cms[:-cut]))))
    assert answer.answer is (Answer.UNCLEAR if cut > 150 else Answer.NEEDED)
    assert "backup" in only_claim(answer).remedy


def test_an_envelope_cut_off_in_a_forwarded_mail_inside_a_new_envelope_counts(
    retire: Retire, keys: Keys
) -> None:
    body = multipart(PLAIN, forward(message(3, entity(Envelope.to(keys.old).encoded[:-9]))))
    assert retire(stored(message(2, encrypt(body, keys.new)))).answer is Answer.NEEDED


def uuencoded(cms: bytes) -> bytes:
    lines = (binascii.b2a_uu(cms[at : at + 45]) for at in range(0, len(cms), 45))
    return b"begin 644 smime.p7m\n" + b"".join(lines) + b"`\nend\n"


def attached(data: bytes, name: bytes) -> bytes:
    fields = b'Content-Type: application/octet-stream; name="%s"\r\n' % name
    encoding = b"Content-Transfer-Encoding: base64\r\n\r\n"
    return fields + encoding + base64.encodebytes(data).replace(b"\n", b"\r\n")


TEXT_FIELD = b"Content-Type: text/plain\r\n\r\n"
ODD_PLACES: dict[str, Callable[[bytes], bytes]] = {
    "quoted with a name": lambda text: TEXT_FIELD + text.replace(b"\n", b"\r\nAB> "),
    "in JSON": lambda text: TEXT_FIELD + b'{"body":"' + text.replace(b"\n", b"\\r\\n") + b'"}',
    "in JSON, slashes escaped": lambda text: (
        TEXT_FIELD + b'{"body":"' + text.replace(b"\n", b"").replace(b"/", b"\\/") + b'"}'
    ),
    "in strings of a program": lambda text: (
        TEXT_FIELD + b'x = "' + text.replace(b"\n", b'\\n"\r\n"') + b'"'
    ),
    "in a list": lambda text: TEXT_FIELD + text.replace(b"\n", b"\r\n* "),
    "between spaces without a width": lambda text: (
        TEXT_FIELD + text.replace(b"\n", b"\xe2\x80\x8b\r\n")
    ),
    "in a link of HTML": lambda text: (
        b"Content-Type: text/html\r\n\r\n"
        b'<a href="data:application/pkcs7-mime;base64,' + text.replace(b"\n", b"") + b'">x</a>'
    ),
    "in a later member of a gzip file": lambda text: attached(
        gzip.compress(b"a log\n") + gzip.compress(text), b"a.gz"
    ),
    "uuencoded": lambda text: TEXT_FIELD + uuencoded(base64.b64decode(text)),
    "bare, where nothing proves it mail": lambda text: text,
}


@pytest.mark.parametrize("is_inside", [False, True], ids=["as it is", "in a new envelope"])
@pytest.mark.parametrize("place", ODD_PLACES)
def test_a_whole_envelope_in_an_odd_place_is_never_not_needed(
    place: str, is_inside: bool, retire: Retire, keys: Keys
) -> None:
    cms = encrypt(TEXT, keys.old).partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").strip() + b"\n"
    body = ODD_PLACES[place](cms)
    if is_inside:
        body = encrypt(body, keys.new)
    elif body is cms:
        body = TEXT_FIELD + cms
    answer = retire(stored(message(2, body)))
    assert answer.answer is not Answer.NOT_NEEDED


def test_each_part_of_a_message_is_judged_alone(retire: Retire, keys: Keys) -> None:
    body = multipart(encrypt(TEXT, keys.new), PLAIN, encrypt(TEXT, keys.old))
    assert retire(stored(message(2, body))).needed == 1
    damaged = multipart(
        entity(b"0\x80\x06\x09*\x86H\x86\xf7\r\x01\x07\x03"), encrypt(TEXT, keys.old)
    )
    assert retire(stored(message(3, damaged))).needed >= 1


def test_what_was_damaged_beside_a_moved_part_counts_although_the_message_was_replaced(
    tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    maildir, new = tmp_path / "Maildir", history(keys.new)
    body = multipart(
        forward(message(3, encrypt(TEXT, keys.old))),
        clear_signed(encrypt(TEXT, keys.old)),
        boundary=b"around",
    )
    fill(maildir, [Mail("", "cur/1300000000.M0P1.host:2,S", stored(message(2, body)))])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, verify_keys=new, partial=True))
    answers = jobs.run(specify("verify", None, verify_keys=new, retire=history(keys.old))).retire
    assert answers is not None
    assert answers[0].answer is Answer.NEEDED


# --- what counts against no key -------------------------------------------------------------


def test_mail_that_no_private_key_opens_counts_against_none(
    retire: Retire, moved: Path, keys: Keys
) -> None:
    pgp = (
        b"Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=p\r\n\r\n"
        b"--p\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"--p\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n"
        b"\r\nhQEMA5V1yYIaUJbfAQf/\r\n-----END PGP MESSAGE-----\r\n--p--\r\n"
    )
    source = moved.parent / "plain"
    source.write_bytes(TEXT)
    words = ("cms", "-encrypt", "-binary", "-outform", "DER", "-in", source)
    by_password = openssl(*words, "-aes256", "-pwri_password", "secret")
    command = ("cms", "-EncryptedData_encrypt", "-outform", "DER", "-in", source, "-aes256")
    encrypted_data = openssl(*command, "-secretkey", "00" * 32)
    answer = retire(
        stored(pgp),  # without Date and Message-ID
        stored(message(3, entity(by_password))),
        stored(message(4, entity(encrypted_data))),
    )
    assert (answer.answer, answer.claims) == (Answer.NOT_NEEDED, ())
    assert answer.looked_at.messages == 4


def test_mail_to_strangers_counts_against_no_key(retire: Retire, keys: Keys) -> None:
    answer = retire(encrypted(41, keys.stranger), stored(message(3, encrypt(TEXT, keys.stranger))))
    assert answer.answer is Answer.NOT_NEEDED


# --- what cannot be looked at ---------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(b"anything"), b"", b"no header here\n", b"From: a\rTo: b\r\rtext\r"],
    ids=["compressed", "empty", "no header", "bare CR"],
)
def test_a_file_that_no_mail_can_be_read_of_is_unclear(raw: bytes, retire: Retire) -> None:
    answer = retire(raw)
    assert (answer.answer, answer.unclear) == (Answer.UNCLEAR, 1)
    claim = only_claim(answer)
    assert (claim.folder, claim.ref) == ("INBOX", "1500000002.M2P1.host")
    assert claim.identity
    assert claim.reason


@pytest.mark.parametrize("label", ["labelled", "signed", "compressed"])
def test_what_is_labelled_as_smime_and_cannot_be_read_is_unclear(
    label: str, retire: Retire
) -> None:
    types = {"labelled": "1.2.840.113549.1.7.3", "signed": "1.2.840.113549.1.7.2"}
    types["compressed"] = "1.2.840.113549.1.9.16.1.9"
    broken = b"\x30\x82\x40\x00" + der.oid(types[label]) + b"\xa0\x82\x30\x00\x30\x82\x20\x00\x02"
    body = b"not base64 at all\r\n" if label == "labelled" else None
    raw = entity(broken) if body is None else entity(b"").rstrip() + b"\r\n\r\n" + body
    assert retire(stored(message(2, raw))).answer is Answer.UNCLEAR


def test_a_message_that_costs_its_worker_is_unclear_with_its_place(
    retire: Retire, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = stored(message(2, entity(crowd(Envelope.to(keys.old), 12_000))))
    assert retire(raw).answer is not Answer.NOT_NEEDED
    # It takes far longer than others, and no longer than a worker may.
    monkeypatch.setattr(pool, "BASE_TIMEOUT", 0.2)
    monkeypatch.setattr(pool, "SECONDS_PER_BYTE", 0.0)
    claims = {claim.ref: claim for claim in retire(workers=1).claims}
    claim = claims["1500000002.M2P1.host"]
    assert (claim.answer, claim.folder) == (Answer.UNCLEAR, "INBOX")
    assert claim.message_id == "<2@example.org>"
    assert "it took too long" in claim.reason


# --- what only the log knows ----------------------------------------------------------------


def test_a_lost_message_that_kept_a_layer_is_unclear_although_it_was_replaced(
    tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    maildir, new = tmp_path / "Maildir", history(keys.new)
    inside = multipart(PLAIN, clear_signed(encrypt(TEXT, keys.old)), PLAIN)
    mail = [
        Mail("", f"cur/130000000{n}.M{n}P1.host:2,S", stored(message(n, encrypt(one, keys.old))))
        for n, one in enumerate((inside, TEXT, TEXT), 1)
    ]
    fill(maildir, mail)
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, verify_keys=new))
    for path in (maildir / "cur").iterdir():
        if b"<1@example.org>" in path.read_bytes():
            path.unlink()
    answers = jobs.run(specify("verify", None, verify_keys=new, retire=history(keys.old))).retire
    assert answers is not None
    claim = only_claim(answers[0])
    assert (claim.answer, claim.message_id) == (Answer.UNCLEAR, "<1@example.org>")
    assert claim.reason.startswith("it is lost")


def test_what_is_passed_over_is_unclear_by_its_name(retire: Retire, moved: Path) -> None:
    (moved / "cur" / "1400000000.M4P1.host:2,S").symlink_to("/nonexistent")
    claim = only_claim(retire())
    assert claim.ref.endswith("1400000000.M4P1.host:2,S")
    assert "mailbox of its own" in claim.remedy


# --- what is told of each -------------------------------------------------------------------


def test_each_message_is_named_with_what_would_settle_it(retire: Retire, keys: Keys) -> None:
    answer = retire(encrypted(41, keys.old))
    claim = only_claim(answer)
    assert (claim.answer, claim.folder) == (Answer.NEEDED, "INBOX")
    assert (claim.message_id, claim.date) == ("<41@example.org>", "2019-01-07T10:00:00+01:00")
    assert len(claim.identity) == 64
    assert "new keys" in claim.remedy
