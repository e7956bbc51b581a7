"""encrypt --include-clear: mail that never was encrypted, too; a job may begin so."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import NotThisMailbox, UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill, make_key, openssl
from tests.support.specifications import Specify

PLAIN = (
    b"Received: from a.example.org\n\tby b.example.org\nSubject: plain\nMIME-Version: 1.0\n"
    b"Content-Type: text/plain;\n charset=utf-8\nMessage-ID: <plain@example.org>\n"
    b"Content-Transfer-Encoding: 8bit\nX-Odd:no space\n\nGr\xc3\xbc\xc3\x9fe\n\nfrom me\n"
)
NESTED = (
    b"Subject: two parts\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\none\r\n'
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>two</p>\r\n--b--\r\n"
)
EMPTY = b"Subject: nothing\nMessage-ID: <empty@example.org>\n\n"
DONE = {
    "CLEAR": (CLEAR, b"Content-Type: text/plain\r\n\r\nnothing to hide\r\n"),
    "plain": (
        PLAIN,
        (
            b"Content-Type: text/plain;\r\n charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n\r\nfrom me\r\n"
        ),
    ),
    "nested": (NESTED, NESTED[NESTED.index(b"Content-Type: multipart") :]),
    "empty": (EMPTY, b"Content-Type: text/plain\r\n\r\n"),
}
LEFT = {
    "a bare CR": (b"Subject: x\n\nover\rwritten\n", State.UNSUPPORTED),
    "binary": (
        b"Subject: x\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\n\n\x00\n\r\n",
        State.UNSUPPORTED,
    ),
    "compressed": (b"\x1f\x8b\x08\x00" + bytes(range(200)), State.UNSUPPORTED),
}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def one(maildir: Path, raw: bytes) -> Path:
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", raw)])
    return maildir


def only(maildir: Path) -> Path:
    (path,) = (maildir / "cur").iterdir()
    return path


def opened(path: Path, keys: Keys) -> bytes:
    """What openssl makes of it."""
    key = keys.new
    return openssl(
        "cms", "-decrypt", "-in", path, "-recip", key.certificate, "-inkey", key.private_key
    )


@pytest.fixture
def new(keys: Keys) -> KeySpecification:
    return KeySpecification((keys.new.certificate, keys.new.private_key))


# --- one message --------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("raw", "inner"), DONE.values(), ids=DONE)
def test_a_message_in_clear_is_encrypted_and_openssl_opens_it(
    tmp_path: Path, specify: Specify, keys: Keys, raw: bytes, inner: bytes, workers: int
) -> None:
    box = one(tmp_path / "box", raw)
    summary = jobs.run(specify("encrypt", box, include_clear=True, workers=workers))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert summary.is_finished
    assert opened(only(box), keys) == inner


def test_of_the_header_only_what_describes_the_body_goes_inside(
    tmp_path: Path, specify: Specify
) -> None:
    box = one(tmp_path / "box", PLAIN)
    jobs.run(specify("encrypt", box, include_clear=True))
    header = only(box).read_bytes().partition(b"\n\n")[0]
    kept = header.split(b"\n")
    assert kept[:4] == PLAIN.split(b"\n")[:4]
    assert kept[-2:] == [b"Message-ID: <plain@example.org>", b"X-Odd:no space"]
    assert b"utf-8" not in header


def test_flags_time_and_mode_stay(tmp_path: Path, specify: Specify) -> None:
    box = one(tmp_path / "box", PLAIN)
    (before,) = checker.stored_mail(box)
    jobs.run(specify("encrypt", box, include_clear=True))
    (after,) = checker.stored_mail(box)
    assert (after.flags, after.mtime_ns, after.mode) == (before.flags, before.mtime_ns, before.mode)


@pytest.mark.parametrize("opaque", [False, True])
def test_a_signature_still_verifies_inside(
    tmp_path: Path, specify: Specify, keys: Keys, opaque: bool
) -> None:
    signer = make_key(tmp_path, "signer")
    (tmp_path / "text").write_bytes(b"Content-Type: text/plain\r\n\r\nsigned\r\n")
    options = ("-nodetach",) if opaque else ()
    signed = openssl(
        *("cms", "-sign", *options, "-in", tmp_path / "text"),
        *("-signer", signer.certificate, "-inkey", signer.private_key),
    )
    box = one(tmp_path / "box", b"Subject: signed\n" + signed.replace(b"\r\n", b"\n"))
    summary = jobs.run(specify("encrypt", box, include_clear=True))
    assert counts(summary) == {State.REENCRYPTED: 1}
    (tmp_path / "inner").write_bytes(opened(only(box), keys))
    text = openssl(
        *("cms", "-verify", "-purpose", "any", "-in", tmp_path / "inner"),
        *("-CAfile", signer.certificate),
    )
    assert b"signed" in text


@pytest.mark.parametrize(("raw", "state"), LEFT.values(), ids=LEFT)
def test_what_would_be_altered_stays_as_it_is_and_is_told(
    tmp_path: Path, specify: Specify, raw: bytes, state: State
) -> None:
    box = one(tmp_path / "box", raw)
    census = checker.census(box)
    summary = jobs.run(specify("encrypt", box, include_clear=True))
    assert counts(summary) == {state: 1}
    assert summary.exit_code == 3
    assert checker.census(box) == census


# --- a mailbox ----------------------------------------------------------------------------


def test_without_it_a_job_does_not_begin_with_encrypting(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        jobs.run(specify("encrypt", maildir))
    assert not (tmp_path / "job").exists()


def test_a_job_that_begins_so_leaves_encrypted_mail_alone(maildir: Path, specify: Specify) -> None:
    before = {mail.base_name: mail.raw for mail in checker.stored_mail(maildir)}
    summary = jobs.run(specify("encrypt", maildir, include_clear=True))
    assert summary.counts[State.REENCRYPTED] == 1
    after = {mail.raw for mail in checker.stored_mail(maildir)}
    assert len(set(before.values()) - after) == 1


def test_after_decrypting_all_the_mail_is_encrypted_new_mail_too(
    maildir: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("decrypt", maildir))
    fill(maildir, [Mail("", "new/1300000030.M30P1.host", PLAIN)])
    summary = jobs.run(specify("encrypt", maildir, include_clear=True))
    wanted = {State.MISSING_KEY: 1, State.MALFORMED: 1}
    assert counts(summary) == {**wanted, State.REENCRYPTED: 7}
    verified = jobs.run(specify("verify", None, verify_keys=new))
    assert counts(verified) == {**wanted, State.VERIFIED: 7}


def test_without_it_mail_in_clear_stays(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    assert jobs.run(specify("encrypt", maildir)).counts[State.CLEAR] == 1


def test_a_second_run_changes_nothing(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    first = counts(jobs.run(specify("encrypt", maildir, include_clear=True)))
    census = checker.census(maildir)
    assert counts(jobs.run(specify("encrypt", maildir, include_clear=True))) == first
    assert counts(jobs.run(specify("encrypt", maildir))) == first
    assert checker.census(maildir) == census


def test_a_mailbox_that_is_not_the_jobs_is_not_encrypted(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    other = tmp_path / "other"
    fill(other, [Mail("", f"cur/17000000{n:02}.M1P1.host:2,", PLAIN) for n in range(30)])
    census = checker.census(other)
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("encrypt", other, include_clear=True))
    assert checker.census(other) == census


def test_mail_in_clear_that_waits_its_turn_is_of_the_job(tmp_path: Path, specify: Specify) -> None:
    box = tmp_path / "box"
    fill(box, [Mail("", f"cur/17000000{n:02}.M1P1.host:2,", PLAIN) for n in range(3)])
    first = jobs.run(specify("encrypt", box, include_clear=True, selection=jobs.Selection(limit=1)))
    assert counts(first) == {State.REENCRYPTED: 1, State.CLEAR: 2}
    assert counts(jobs.run(specify("encrypt", box, include_clear=True))) == {State.REENCRYPTED: 3}


def test_equal_mails_are_each_encrypted(tmp_path: Path, specify: Specify, keys: Keys) -> None:
    box = tmp_path / "box"
    fill(box, [Mail("", f"cur/17000000{n:02}.M1P1.host:2,", PLAIN) for n in range(3)])
    assert counts(jobs.run(specify("encrypt", box, include_clear=True))) == {State.REENCRYPTED: 3}
    fill(box, [Mail("", "cur/1800000001.M1P1.host:2,", PLAIN)])
    assert counts(jobs.run(specify("encrypt", box, include_clear=True))) == {State.REENCRYPTED: 4}
    assert len({path.read_bytes() for path in (box / "cur").iterdir()}) == 4


def test_a_rollback_puts_the_clear_mail_back(maildir: Path, specify: Specify) -> None:
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, include_clear=True))
    summary = jobs.run(specify("rollback", None))
    assert summary.counts[State.ROLLED_BACK] == 6
    assert checker.meanings(maildir, []) == before


def test_purging_after_proof_removes_its_original(
    tmp_path: Path, specify: Specify, new: KeySpecification
) -> None:
    box = one(tmp_path / "box", PLAIN)
    jobs.run(specify("encrypt", box, include_clear=True))
    assert len(list((tmp_path / "job" / "originals").iterdir())) == 1
    summary = jobs.run(specify("purge", None, verify_keys=new))
    assert (counts(summary), summary.job_data_removed) == ({State.VERIFIED: 1}, 1)
    assert list((tmp_path / "job" / "originals").iterdir()) == []


def test_the_old_copy_back_from_a_backup_is_encrypted_again(
    tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    box = one(tmp_path / "box", PLAIN)
    backup = shutil.copytree(box, tmp_path / "backup")
    jobs.run(specify("encrypt", box, include_clear=True))
    shutil.rmtree(box)
    shutil.copytree(backup, box)
    assert counts(jobs.run(specify("verify", None))) == {State.CLEAR: 1}
    assert counts(jobs.run(specify("encrypt", box, include_clear=True))) == {State.REENCRYPTED: 1}
    assert b"from me" in opened(only(box), keys)


@pytest.mark.parametrize("raw", [CLEAR, PLAIN, NESTED, EMPTY], ids=DONE)
def test_a_later_move_decrypts_it_like_any_other_mail(
    tmp_path: Path, specify: Specify, new: KeySpecification, raw: bytes
) -> None:
    box = one(tmp_path / "box", raw)
    jobs.run(specify("encrypt", box, include_clear=True))
    later = specify("decrypt", box, job=tmp_path / "later", keys=new)
    assert counts(jobs.run(later)) == {State.CHECKPOINTED: 1}


def test_a_dry_run_encrypts_nothing(tmp_path: Path, specify: Specify) -> None:
    box = one(tmp_path / "box", PLAIN)
    census = checker.census(box)
    assert jobs.run(specify("encrypt", box, include_clear=True, dry_run=True)).space
    assert checker.census(box) == census
    assert not (tmp_path / "job").exists()


# --- after a move -------------------------------------------------------------------------


def as_crlf(maildir: Path, elsewhere: Path) -> Path:
    for path in list(maildir.rglob("cur/*")):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return maildir


def moved(maildir: Path, elsewhere: Path) -> Path:
    return maildir.rename(elsewhere)


def renamed_folder(maildir: Path, elsewhere: Path) -> Path:
    (maildir / ".Sent").rename(maildir / ".Sent Items")
    return maildir


def other_names(maildir: Path, elsewhere: Path) -> Path:
    for number, path in enumerate(list(maildir.rglob("cur/*"))):
        path.rename(path.with_name(f"19000000{number:02}.M1P1.there:2,S"))
    return maildir


@pytest.mark.parametrize("in_place", [False, True], ids=["checkpoints", "in place"])
@pytest.mark.parametrize("move", [as_crlf, moved, renamed_folder, other_names])
def test_whatever_the_move_did_all_is_encrypted_once_and_opens(
    maildir: Path,
    specify: Specify,
    new: KeySpecification,
    tmp_path: Path,
    move: Callable[[Path, Path], Path],
    in_place: bool,
) -> None:
    jobs.run(specify("decrypt", maildir, in_place=in_place))
    there = move(maildir, tmp_path / "there")
    wanted = {State.MISSING_KEY: 1, State.MALFORMED: 1}
    summary = jobs.run(specify("encrypt", there, include_clear=True))
    assert counts(summary) == {**wanted, State.REENCRYPTED: 6}
    verified = jobs.run(specify("verify", None, verify_keys=new, deep=True))
    assert counts(verified) == {**wanted, State.VERIFIED: 6}


def test_a_later_decrypt_on_the_same_job_leaves_it_encrypted(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    encrypted_now = counts(jobs.run(specify("encrypt", maildir, include_clear=True)))
    census = checker.census(maildir)
    assert counts(jobs.run(specify("decrypt", maildir))) == encrypted_now
    assert checker.census(maildir) == census


def test_what_the_user_changes_in_it_afterwards_is_told_as_changed(
    tmp_path: Path, specify: Specify
) -> None:
    box = one(tmp_path / "box", PLAIN)
    jobs.run(specify("encrypt", box, include_clear=True))
    path = only(box)
    raw = path.read_bytes()
    path.write_bytes(raw[:-40] + raw[-39:] + b"\n")
    assert counts(jobs.run(specify("verify", None))) == {State.CHANGED: 1}


# --- killed -------------------------------------------------------------------------------


# Budget: 5 seconds.
def test_killed_at_every_point_it_loses_nothing_and_ends_the_same(
    specify: Specify, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    place = tmp_path / "trial"
    maildir = place / "box"
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", PLAIN),
        Mail("", "cur/1300000002.M2P1.host:2,", encrypted(2, keys.old)),
        Mail(".Sent", "cur/1300000003.M3P1.host:2,", NESTED),
    ]
    fill(maildir, mail)
    spec = specify("encrypt", maildir, job=place / "job", include_clear=True)
    wanted = {State.REENCRYPTED: 2, State.NOT_IN_JOB: 1}

    def texts() -> Counter[bytes]:
        """What its owner reads in each file."""
        found: Counter[bytes] = Counter()
        for number, entry in enumerate(checker.stored_mail(maildir)):
            raw = entry.raw
            if b"pkcs7" in raw and entry.base_name[:10] != "1300000002":
                path = tmp_path / f"copy{number}"
                path.write_bytes(raw)
                raw = opened(path, keys)
            found[next(text for text in (b"from me", b"<p>two", b"pkcs7") if text in raw)] += 1
        return found

    for where in crash.Trial(place, whole=whole, beside=True).kills(spec):
        assert all(1 <= count <= 2 for count in texts().values()), where
        assert len(texts()) == 3, where
        assert counts(jobs.run(spec)) == wanted, where
        assert set(texts().values()) == {1}, where
        census = checker.census(maildir)
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(maildir) == census, where
