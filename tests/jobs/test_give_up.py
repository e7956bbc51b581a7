"""--give-up: a message counts against one key no more, since a person said so, and when and why."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.cli.words import retirement
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.retirement import Answer
from sectool.summary import RetiredKey
from tests.support.checker import Key
from tests.support.layers import TEXT, clear_signed, encrypt, message, stored
from tests.support.mailboxes import Keys, Mail, encrypted, fill, openssl
from tests.support.specifications import Fields, Specify, fitting

Retire = Callable[..., RetiredKey]
"""Verifies, giving up what a file says, and answers for one key."""


def history(*keys: Key) -> KeySpecification:
    paths = (path for key in keys for path in (key.certificate, key.private_key))
    return KeySpecification(tuple(paths))


@pytest.fixture
def maildir(tmp_path: Path, specify: Specify, keys: Keys) -> Path:
    """A mailbox after the move: one message was moved, one is signed around an old envelope."""
    maildir = tmp_path / "Maildir"
    sealed = stored(message(2, clear_signed(encrypt(TEXT, keys.old))))
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000002.M2P1.host:2,S", sealed),
    ]
    fill(maildir, mail)
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, verify_keys=history(keys.new)))
    return maildir


@pytest.fixture
def retire(maildir: Path, specify: Specify, keys: Keys) -> Retire:
    def retire(
        file: Path | None = None, *, key: Key = keys.old, **changes: Unpack[Fields]
    ) -> RetiredKey:
        usual: Fields = {"retire": history(key), "verify_keys": history(keys.new), "give_up": file}
        answers = jobs.run(specify("verify", None, **fitting("verify", usual, changes))).retire
        assert answers is not None
        (answer,) = answers
        return answer

    return retire


def certificate_fingerprint(key: Key) -> str:
    text = openssl("x509", "-in", key.certificate, "-noout", "-fingerprint", "-sha256").decode()
    return text.strip().partition("=")[2]


def public_key_fingerprint(key: Key, scratch: Path) -> str:
    pem, der = scratch / "public.pem", scratch / "public.der"
    pem.write_bytes(openssl("x509", "-in", key.certificate, "-noout", "-pubkey"))
    openssl("pkey", "-pubin", "-in", pem, "-outform", "DER", "-out", der)
    return openssl("dgst", "-sha256", "-r", der).decode().split()[0]


@pytest.mark.parametrize("by", ["certificate", "public key"])
def test_a_message_given_up_counts_no_more_and_the_log_keeps_who_when_and_why(
    by: str, retire: Retire, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    before = retire()
    (claim,) = before.claims
    assert (before.answer, claim.message_id) == (Answer.NEEDED, "<2@example.org>")
    digest = public_key_fingerprint(keys.old, tmp_path)
    assert before.public_key == digest
    name = digest if by == "public key" else certificate_fingerprint(keys.old)
    file = tmp_path / "given-up"
    file.write_text(f"# mine\n\n{claim.identity} {name} an old # joke, nobody needs it\n")
    after = retire(file)
    assert (after.answer, after.claims) == (Answer.NOT_NEEDED, ())
    (one,) = after.given_up
    assert one.claim == claim
    assert one.reason == "an old # joke, nobody needs it"
    assert "(uid " in one.by_whom
    again = retire()
    assert again.given_up == after.given_up
    day = one.at.date().isoformat()
    said = f"not needed here, but for 1 message given up on {day}"
    assert retirement.reason(again) == said
    status = jobs.status(tmp_path / "job")
    assert status.retire is not None
    assert [retirement.reason(key) for key in status.retire] == [said]
    (told,) = retirement.as_json(status)["retire"]
    assert (told["answer"], told["reason"]) == ("not needed here", said)
    assert told["given_up"][0]["by"] == one.by_whom
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as log:
        rows = log.execute("SELECT identity, public_key, reason, by_whom FROM give_up").fetchall()
    assert rows == [(claim.identity, digest, one.reason, one.by_whom)]


def test_a_message_is_given_up_for_one_key_only(
    retire: Retire, maildir: Path, keys: Keys, tmp_path: Path
) -> None:
    both = encrypt(TEXT, keys.old, keys.stranger)
    (maildir / "new" / "1500000001.M5P1.host").write_bytes(stored(message(5, both)))
    claims = {claim.message_id: claim.identity for claim in retire().claims}
    file = tmp_path / "given-up"
    lines = [f"{one} {certificate_fingerprint(keys.old)} gone\n" for one in claims.values()]
    file.write_text("".join(lines))
    assert retire(file).answer is Answer.NOT_NEEDED
    assert retire(key=keys.stranger).answer is Answer.NEEDED


def test_what_is_acknowledged_or_given_up_for_a_run_that_only_rehearses_settles_nothing(
    retire: Retire, tmp_path: Path, keys: Keys
) -> None:
    (claim,) = retire().claims
    known = tmp_path / "known"
    known.write_text(f"{claim.identity}\n")
    assert retire(acknowledge=known).answer is Answer.NEEDED
    (claim,) = retire().claims
    assert claim.acknowledged
    file = tmp_path / "given-up"
    file.write_text(f"{claim.identity} {certificate_fingerprint(keys.old)} no\n")
    assert retire(file, dry_run=True).answer is Answer.NOT_NEEDED
    assert retire().answer is Answer.NEEDED


def test_what_does_not_speak_against_the_key_is_not_taken_down(
    retire: Retire, tmp_path: Path, keys: Keys
) -> None:
    file = tmp_path / "given-up"
    file.write_text(f"{'ab' * 32} {certificate_fingerprint(keys.old)} whatever\n")
    assert retire(file).answer is Answer.NEEDED
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as log:
        assert log.execute("SELECT count(*) FROM give_up").fetchone() == (0,)


@pytest.mark.parametrize(
    "line",
    [
        "{identity}",
        "{identity} {key}",
        "{key} is no identity",
        "{identity} " + "cd" * 32 + " of no key at hand",
        "{identity} abc too short",
    ],
)
def test_a_line_that_is_not_whole_gives_nothing_up(
    line: str, retire: Retire, tmp_path: Path, keys: Keys
) -> None:
    (claim,) = retire().claims
    key = certificate_fingerprint(keys.old)
    file = tmp_path / "given-up"
    file.write_text(
        f"{claim.identity} {key} good\n{line.format(identity=claim.identity, key=key)}\n"
    )
    if line == "{key} is no identity":
        file.write_text("no-identity {key} because\n")
    with pytest.raises(UsageError):
        retire(file)
    assert retire().answer is Answer.NEEDED


def test_nothing_is_given_up_without_a_key_to_give_it_up_for(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    file = tmp_path / "given-up"
    file.write_text("")
    with pytest.raises(UsageError, match="none was named"):
        jobs.run(specify("verify", None, give_up=file))


def test_the_answer_is_forgotten_as_soon_as_a_run_acts_on_the_mail(
    retire: Retire, specify: Specify, maildir: Path
) -> None:
    job = maildir.parent / "job"
    assert jobs.status(job).retire is None
    retire()
    assert jobs.status(job).retire is not None
    jobs.run(specify("purge", None, dry_run=True))
    assert jobs.status(job).retire is not None
    jobs.run(specify("rollback", None))
    assert jobs.status(job).retire is None


# --- purge ----------------------------------------------------------------------------------


def test_purge_lets_go_of_the_checkpoint_of_a_layer_that_was_given_up(
    retire: Retire, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    (claim,) = retire().claims
    kept = tmp_path / "job" / "checkpoints"
    jobs.run(specify("purge", None))
    assert len(list(kept.glob("*.eml"))) == 1
    file = tmp_path / "given-up"
    file.write_text(f"{claim.identity} {certificate_fingerprint(keys.old)} nobody needs it\n")
    retire(file)
    purged = jobs.run(specify("purge", None)).purged
    assert (purged.checkpoints, purged.kept) == (1, 0)
    assert list(kept.glob("*.eml")) == []


def test_purge_keeps_the_checkpoint_of_a_layer_that_another_old_key_may_open(
    tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    maildir = tmp_path / "Mail"
    fill(
        maildir,
        [
            Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old)),
            Mail(
                "",
                "cur/1300000002.M2P1.host:2,S",
                stored(message(2, clear_signed(encrypt(TEXT, keys.old, keys.stranger)))),
            ),
        ],
    )
    both = history(keys.old, keys.stranger)
    jobs.run(specify("decrypt", maildir, keys=both))
    jobs.run(specify("encrypt", maildir, verify_keys=history(keys.new)))
    new = history(keys.new)
    verify = specify("verify", None, verify_keys=new, retire=both)
    answers = jobs.run(verify).retire
    assert answers is not None
    file = tmp_path / "given-up"
    for done, key in enumerate((keys.old, keys.stranger), 1):
        identity = answers[0].claims[0].identity
        file.write_text(f"{identity} {certificate_fingerprint(key)} gone\n")
        jobs.run(specify("verify", None, verify_keys=new, retire=both, give_up=file))
        jobs.run(specify("purge", None))
        left = list((tmp_path / "job" / "checkpoints").glob("*.eml"))
        assert len(left) == 2 - done
