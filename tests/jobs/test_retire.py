"""verify --retire: no answer that lets a key go which any mail of the mailbox still needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pytest

from sectool import budget, jobs
from sectool.keys import KeySpecification
from sectool.retirement import Answer
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
from tests.support.mailboxes import NO_AUTHORITY, Keys, Mail, encrypted, fill, openssl
from tests.support.specifications import Fields, Specify, fitting

PLAIN = b"Content-Type: text/plain\r\n\r\ntext\r\n"

Deliver = Callable[..., Path]


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """A Maildir of these messages."""

    def deliver(*messages: bytes) -> Path:
        maildir = tmp_path / "Maildir"
        fill(
            maildir,
            [
                Mail("", f"cur/130000000{n}.M{n}P1.host:2,S", stored(raw))
                for n, raw in enumerate(messages)
            ],
        )
        return maildir

    return deliver


def history(*keys: Key) -> KeySpecification:
    paths = (path for key in keys for path in (key.certificate, key.private_key))
    return KeySpecification(tuple(paths))


def answer(specify: Specify, key: KeySpecification, **changes: Unpack[Fields]) -> RetiredKey:
    """What is said of one key."""
    answers = jobs.run(
        specify("verify", None, **fitting("verify", {"retire": key}, changes))
    ).retire
    assert answers is not None
    (one,) = answers
    return one


def left_inside(keys: Keys) -> bytes:
    """An envelope with another inside that keeps its recipients, as it lies under a signature."""
    return message(1, encrypt(clear_signed(encrypt(TEXT, keys.old)), keys.old))


@pytest.fixture
def replaced(deliver: Deliver, specify: Specify, keys: Keys) -> Path:
    """A mailbox whose only message was moved, and proven with the new key."""
    maildir = deliver(encrypted(1, keys.old))
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, verify_keys=history(keys.new)))
    return maildir


# --- layers ------------------------------------------------------------------------------


def test_a_layer_that_is_replaced_in_one_place_and_left_in_another_needs_its_key(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    layer = encrypt(TEXT, keys.old)
    both = multipart(forward(message(2, layer)), clear_signed(layer))
    maildir = deliver(message(1, encrypt(both, keys.old)))
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    one = answer(specify, history(keys.old), verify_keys=history(keys.new))
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_envelopes_deeper_than_is_looked_keep_every_old_key(
    replaced: Path, specify: Specify, keys: Keys
) -> None:
    entity = encrypt(TEXT, keys.old)
    for _ in range(7):
        entity = encrypt(entity, keys.new)
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(stored(message(2, entity)))
    one = answer(specify, history(keys.old), verify_keys=history(keys.new))
    assert one.answer is not Answer.NOT_NEEDED


@pytest.mark.parametrize("without", ["purged", "sealed", "rewrapped"])
def test_a_replacement_that_nothing_at_hand_opens_keeps_every_old_key(
    without: str, deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(left_inside(keys))
    new, seal = history(keys.new), KeySpecification((keys.transport.private_key,))
    if without == "rewrapped":
        jobs.run(specify("rewrap", maildir, verify_keys=new))
    elif without == "sealed":
        jobs.run(specify("decrypt", maildir, seal_to=(keys.transport.certificate,)))
        jobs.run(specify("encrypt", maildir, verify_keys=new, seal_keys=seal))
    else:
        jobs.run(specify("decrypt", maildir))
        jobs.run(specify("encrypt", maildir, verify_keys=new))
        jobs.run(specify("purge", maildir))
    one = answer(specify, history(keys.old))
    assert (one.needed, one.answer) == (0, Answer.UNCLEAR)
    assert all("--verify-keys" in claim.remedy for claim in one.claims)
    one = answer(specify, history(keys.old), verify_keys=new)
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_a_layer_in_what_an_old_key_opens_needs_the_key_that_opens_it(
    replaced: Path, specify: Specify, keys: Keys
) -> None:
    left = message(2, encrypt(encrypt(TEXT, keys.stranger), keys.old))
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(stored(left))
    both = history(keys.old, keys.stranger)
    retired = jobs.run(specify("verify", None, retire=both)).retire
    assert retired is not None
    assert [(one.needed, one.answer) for one in retired] == [(1, Answer.NEEDED)] * 2


# --- keys that mail does not name by a certificate at hand ------------------------------------


@pytest.fixture(scope="module")
def renewed(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Key:
    """The old key with a further certificate, as after a renewal without a new key."""
    certificate = tmp_path_factory.mktemp("renewed") / "renewed.crt"
    subject = ("-subj", "/CN=renewed", "-days", "365", *NO_AUTHORITY)
    openssl("req", "-x509", "-key", keys.old.private_key, *subject, "-out", certificate)
    return Key(certificate, keys.old.private_key)


def test_mail_that_names_an_older_certificate_of_the_key_needs_it(
    replaced: Path, renewed: Key, specify: Specify, keys: Keys
) -> None:
    new = history(keys.new)
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(encrypted(41, keys.stranger))
    assert answer(specify, history(renewed), verify_keys=new).answer is Answer.NOT_NEEDED
    (replaced / "new" / "1500000002.M1P1.host").write_bytes(encrypted(42, keys.old))
    for given in ({"verify_keys": new}, {"accept_unproven": True}):
        one = answer(specify, history(renewed), **given)
        assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_mail_that_was_encrypted_to_a_new_certificate_of_the_same_key_needs_it(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    renewed = Key(tmp_path / "renewed.crt", keys.new.private_key)
    subject = ("-subj", "/CN=renewed", "-days", "365", *NO_AUTHORITY)
    openssl("req", "-x509", "-key", renewed.private_key, *subject, "-out", renewed.certificate)
    maildir, old, new = deliver(encrypted(1, keys.new)), history(keys.new), history(renewed)
    jobs.run(specify("decrypt", maildir, keys=old))
    to_renewed = (renewed.certificate,)
    jobs.run(specify("encrypt", maildir, new_certificates=to_renewed, verify_keys=new))
    one = answer(specify, old, verify_keys=new)
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_a_name_that_an_authority_gave_once_more_hides_no_mail(
    replaced: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    def certify(name: str, key: Key, serial: int) -> Key:
        certificate = tmp_path / f"{name}.crt"
        subject = ("-subj", "/CN=Authority", "-days", "365", "-set_serial", serial, *NO_AUTHORITY)
        openssl("req", "-x509", "-key", key.private_key, *subject, "-out", certificate)
        return Key(certificate, key.private_key)

    lost, given = certify("lost", keys.old, 1), certify("given", keys.old, 2)
    anew = certify("anew", keys.new, 1)
    late = stored(message(2, encrypt(TEXT, lost)))
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(late)
    one = answer(specify, history(given), verify_keys=history(anew, keys.new))
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_mail_to_a_crowd_of_strangers_keeps_every_old_key(
    replaced: Path, specify: Specify, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(encrypted(41, keys.stranger))
    monkeypatch.setattr(budget, "MESSAGE", {**budget.MESSAGE, budget.Work.PRIVATE_KEY: 0})
    one = answer(specify, history(keys.old), verify_keys=history(keys.new))
    assert (one.needed, one.answer) == (0, Answer.UNCLEAR)


# --- what was not found, and what was not looked at -----------------------------------------


def test_a_message_that_is_lost_under_its_old_key_keeps_it_until_a_person_accepts_that(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = deliver(encrypted(1, keys.old), encrypted(2, keys.old))
    jobs.run(specify("decrypt", maildir))
    min((maildir / "cur").iterdir()).rename(tmp_path / "elsewhere")
    new = history(keys.new)
    jobs.run(specify("encrypt", maildir, verify_keys=new))
    one = answer(specify, history(keys.old), verify_keys=new)
    assert one.answer is not Answer.NOT_NEEDED
    assert [claim.reason.partition(",")[0] for claim in one.claims] == ["it is lost"]
    jobs.run(specify("encrypt", maildir, accept_lost=True))
    assert answer(specify, history(keys.old), verify_keys=new).answer is Answer.NOT_NEEDED


def test_mail_behind_a_link_keeps_every_old_key(
    replaced: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    new = history(keys.new)
    (replaced / "cur" / ".nfs0001").write_bytes(b"")
    assert answer(specify, history(keys.old), verify_keys=new).answer is Answer.NOT_NEEDED
    other = tmp_path / "other"
    fill(other, [Mail("", "cur/1300000009.M9P1.host:2,S", encrypted(9, keys.old))])
    (replaced / ".Linked").symlink_to(other)
    assert answer(specify, history(keys.old), verify_keys=new).answer is not Answer.NOT_NEEDED
    (replaced / ".Linked").unlink()
    (replaced / "cur" / "1300000009.M9P1.host:2,S").symlink_to(
        other / "cur" / "1300000009.M9P1.host:2,S"
    )
    assert answer(specify, history(keys.old), verify_keys=new).answer is not Answer.NOT_NEEDED


def test_a_key_without_certificate_is_unclear_while_mail_names_certificates_nobody_gave(
    replaced: Path, specify: Specify, keys: Keys
) -> None:
    bare, new = KeySpecification((keys.old.private_key,)), history(keys.new)
    assert answer(specify, bare, accept_unproven=True).answer is Answer.UNCLEAR
    assert answer(specify, bare, verify_keys=new).answer is Answer.NOT_NEEDED
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(encrypted(42, keys.stranger))
    one = answer(specify, bare, verify_keys=new)
    assert (one.needed, one.answer) == (0, Answer.UNCLEAR)
    assert "certificate" in one.claims[0].reason
    (replaced / "new" / "1500000002.M1P1.host").write_bytes(encrypted(41, keys.old))
    one = answer(specify, bare, verify_keys=new)
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


# --- what was acknowledged, and phases begun anew --------------------------------------------


def test_what_is_acknowledged_keeps_its_key_all_the_same(
    deliver: Deliver, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    sealed = message(3, clear_signed(encrypt(TEXT, keys.old)))
    maildir = deliver(encrypted(1, keys.old), sealed)
    (entry,) = jobs.run(specify("decrypt", maildir)).not_done
    known = tmp_path / "known"
    known.write_text(f"{entry.identity}\n", encoding="ascii")
    assert jobs.run(specify("decrypt", maildir, acknowledge=known)).exit_code == 0
    jobs.run(specify("encrypt", maildir, verify_keys=history(keys.new)))
    one = answer(specify, history(keys.old), verify_keys=history(keys.new))
    assert (one.needed, one.answer) == (1, Answer.NEEDED)


def test_in_the_middle_of_a_restarted_phase_no_key_may_go(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(*(encrypted(number, keys.old) for number in range(4)))
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, new_certificates=(keys.stranger.certificate,)))
    some = jobs.Selection(limit=2)
    jobs.run(specify("encrypt", maildir, restart_phase=True, selection=some))
    assert (
        answer(specify, history(keys.old), verify_keys=history(keys.new)).answer
        is not Answer.NOT_NEEDED
    )
    assert answer(specify, history(keys.stranger), accept_unproven=True).needed == 2


def test_mail_that_came_to_the_new_key_is_looked_into_or_keeps_every_old_key(
    replaced: Path, specify: Specify, keys: Keys
) -> None:
    forwarded = message(5, encrypt(multipart(PLAIN, encrypt(TEXT, keys.old), PLAIN), keys.new))
    (replaced / "new" / "1500000001.M1P1.host").write_bytes(stored(forwarded))
    one = answer(specify, history(keys.old))
    assert one.answer is not Answer.NOT_NEEDED
    assert all("--verify-keys" in claim.remedy for claim in one.claims)
    one = answer(specify, history(keys.old), verify_keys=history(keys.new))
    assert one.needed == 1


def test_a_key_that_checkpoints_are_sealed_to_stays_until_they_are_purged(
    deliver: Deliver, specify: Specify, keys: Keys
) -> None:
    maildir = deliver(encrypted(1, keys.transport))
    old, new = history(keys.transport), history(keys.new)
    jobs.run(specify("decrypt", maildir, keys=old, seal_to=(keys.transport.certificate,)))
    jobs.run(specify("encrypt", maildir, seal_keys=old, verify_keys=new))
    one = answer(specify, old, verify_keys=new)
    assert (one.answer, "sealed to it" in one.claims[0].reason) == (Answer.NEEDED, True)
    jobs.run(specify("purge", maildir))
    assert answer(specify, old, verify_keys=new).answer is Answer.NOT_NEEDED
