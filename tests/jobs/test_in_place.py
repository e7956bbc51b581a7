"""decrypt --in-place: the mailbox holds plaintext meanwhile, and is encrypted from checkpoints."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import INNER, Keys, Mail, encrypted, fill, openssl
from tests.support.specifications import Fields, Specify, fitting

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
DECRYPTED = {**OTHERS, State.DECRYPTED: 5}
REENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


@pytest.fixture
def in_place(maildir: Path, specify: Specify) -> Path:
    assert counts(jobs.run(specify("decrypt", maildir, in_place=True))) == DECRYPTED
    return maildir


def plaintexts(maildir: Path) -> list[checker.StoredMail]:
    return [mail for mail in checker.stored_mail(maildir) if b"X-Sectool-Id: " in mail.raw]


def readable(maildir: Path, owner: list[checker.Key]) -> Counter[tuple[object, ...]]:
    """What each message is to its owner, whether it lies there encrypted or in clear."""
    found: Counter[tuple[object, ...]] = Counter()
    for mail in checker.stored_mail(maildir):
        lines = [
            line
            for line in checker.header_without_content_fields(mail.raw)
            if not line.startswith((b"X-Sectool-Id:", b"MIME-Version:"))
        ]
        envelopes = checker.envelopes(mail.raw)
        texts = [checker.opened(one, key) for one in envelopes for key in owner]
        text = next((one for one in texts if one is not None), mail.raw if envelopes else None)
        if text is None:
            text = mail.raw
            if b"X-Sectool-Id:" in mail.raw:
                header, _, body = mail.raw.partition(b"\n\n")
                kept = [line for line in header.split(b"\n") if line.startswith(b"Content-")]
                text = b"\n".join(kept) + b"\n\n" + body
        what = text.replace(b"\r\n", b"\n")
        found[mail.folder, mail.flags, mail.mtime_ns, mail.mode, b"".join(lines), what] += 1
    return found


def test_the_mailbox_holds_the_plaintext_and_all_else_is_kept(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    before = readable(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir, in_place=True))
    assert readable(maildir, []) == before
    copies = plaintexts(maildir)
    assert len(copies) == 5
    for mail in copies:
        assert mail.raw.count(b"X-Sectool-Id:") == mail.raw.count(b"MIME-Version:") == 1
        assert b"\r" not in mail.raw


def test_decrypting_in_place_again_touches_nothing(in_place: Path, specify: Specify) -> None:
    census = checker.census(in_place)
    assert counts(jobs.run(specify("decrypt", in_place, in_place=True))) == DECRYPTED
    assert checker.census(in_place) == census


def test_encrypting_afterwards_gives_the_very_inner_entities_and_headers(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir, in_place=True))
    assert counts(jobs.run(specify("encrypt", maildir))) == REENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before
    assert not plaintexts(maildir)


def test_plaintext_lies_only_in_checkpoints_and_the_mailbox(
    in_place: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("encrypt", in_place))
    holders = {
        path.parent.name
        for path in tmp_path.rglob("*")
        if path.is_file() and b"this is message " in path.read_bytes()
    }
    assert holders == {"checkpoints"}


def test_a_job_of_checkpoints_is_put_in_place_later(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    assert counts(jobs.run(specify("decrypt", maildir, in_place=True))) == DECRYPTED


def test_the_first_replacement_fixes_whether_a_job_is_in_place(
    in_place: Path, specify: Specify, tmp_path: Path, sample: list[Mail]
) -> None:
    with pytest.raises(UsageError, match="in place"):
        jobs.run(specify("decrypt", in_place))
    other, job = tmp_path / "other", tmp_path / "other-job"
    fill(other, sample)
    jobs.run(specify("decrypt", other, job=job))
    jobs.run(specify("encrypt", other, job=job))
    with pytest.raises(UsageError, match="in place"):
        jobs.run(specify("decrypt", other, job=job, in_place=True))


def test_a_dry_run_writes_nothing(maildir: Path, specify: Specify, tmp_path: Path) -> None:
    census = checker.census(tmp_path)
    spec = specify("decrypt", maildir, in_place=True, dry_run=True)
    assert counts(jobs.run(spec))[State.CHECKPOINTED] == 5
    assert checker.census(tmp_path) == census


def test_plaintext_that_its_owner_changed_is_left_to_them(in_place: Path, specify: Specify) -> None:
    path = next(p for p in in_place.rglob("*/*") if p.is_file() and b"message 1\n" in p.read_bytes()
                and b"this is message 1\n" in p.read_bytes())  # fmt: skip
    changed = path.read_bytes().replace(b"this is message 1", b"this was message 1")
    path.write_bytes(changed)
    summary = jobs.run(specify("encrypt", in_place))
    assert counts(summary) == {**OTHERS, State.REENCRYPTED: 4, State.CHANGED: 1}
    assert path.read_bytes() == changed


@pytest.mark.parametrize("decrypted_again", [False, True])
def test_a_copy_that_its_owner_made_of_a_plaintext_is_encrypted_too(
    in_place: Path, specify: Specify, keys: Keys, decrypted_again: bool
) -> None:
    path = next(
        path
        for path in (in_place / "cur").iterdir()
        if path.read_bytes().endswith(b"this is message 1\n")
    )
    (in_place / ".Sent" / "cur" / "1600000001.M1P1.host:2,F").write_bytes(path.read_bytes())
    decrypted = {**DECRYPTED, State.DECRYPTED: 6}
    reencrypted = {**REENCRYPTED, State.REENCRYPTED: 6}
    for _ in range(2 * decrypted_again):
        assert counts(jobs.run(specify("decrypt", in_place, in_place=True))) == decrypted
    assert counts(jobs.run(specify("encrypt", in_place))) == reencrypted
    assert counts(jobs.run(specify("encrypt", in_place))) == reencrypted
    assert not plaintexts(in_place)
    envelopes = [
        one for mail in checker.stored_mail(in_place) for one in checker.envelopes(mail.raw)
    ]
    opened = [checker.opened(envelope, keys.new) for envelope in envelopes]
    assert opened.count(INNER % 1) == 2
    assert counts(jobs.run(specify("verify", None))) == reencrypted


def test_a_mark_on_other_content_makes_no_copy_of_it(in_place: Path, specify: Specify) -> None:
    raw = plaintexts(in_place)[0].raw
    mark = next(line for line in raw.split(b"\n") if line.startswith(b"X-Sectool-Id:"))
    forged = mark + b"\nSubject: forged\n\nnot what was encrypted\n"
    (in_place / "cur" / "1600000001.M1P1.host:2,").write_bytes(forged)
    summary = jobs.run(specify("encrypt", in_place))
    assert counts(summary) == {**REENCRYPTED, State.NOT_IN_JOB: 1}
    assert (in_place / "cur" / "1600000001.M1P1.host:2,").read_bytes() == forged


# --- undo -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["decrypted", "reencrypted"])
def test_rollback_puts_the_encrypted_originals_back(
    stage: str, maildir: Path, specify: Specify
) -> None:
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir, in_place=True))
    if stage == "reencrypted":
        jobs.run(specify("encrypt", maildir))
    assert counts(jobs.run(specify("rollback", None))) == {**OTHERS, State.ROLLED_BACK: 5}
    assert checker.meanings(maildir, []) == before
    # All is undone, so that the way may be chosen anew.
    jobs.run(specify("decrypt", maildir))
    assert checker.meanings(maildir, []) == before


def test_rollback_to_the_stage_decrypted_puts_the_plaintext_back(
    in_place: Path, specify: Specify, keys: Keys
) -> None:
    before = readable(in_place, [])
    jobs.run(specify("encrypt", in_place))
    summary = jobs.run(specify("rollback", None, to_stage="decrypted"))
    assert counts(summary) == DECRYPTED
    assert readable(in_place, []) == before
    census = checker.census(in_place)
    assert counts(jobs.run(specify("rollback", None, to_stage="decrypted"))) == DECRYPTED
    assert checker.census(in_place) == census
    with pytest.raises(UsageError, match="rolled back"):
        jobs.run(specify("encrypt", None))
    jobs.run(specify("decrypt", in_place, in_place=True))
    assert counts(jobs.run(specify("encrypt", None))) == REENCRYPTED


def test_a_job_not_in_place_has_no_stage_decrypted(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    with pytest.raises(UsageError, match="in place"):
        jobs.run(specify("rollback", None, to_stage="decrypted"))


def test_purge_keeps_what_lies_in_clear_unless_it_is_abandoned(
    in_place: Path, specify: Specify, tmp_path: Path
) -> None:
    files = {path.name for path in (tmp_path / "job").rglob("*.eml")}
    summary = jobs.run(specify("purge", None))
    assert (counts(summary), summary.exit_code) == (DECRYPTED, 3)
    assert {path.name for path in (tmp_path / "job").rglob("*.eml")} == files
    summary = jobs.run(specify("purge", None, abandon=True))
    assert (counts(summary), summary.job_data_removed) == (DECRYPTED, 5)
    assert len(plaintexts(in_place)) == 5


# --- signatures inside ------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("-nodetach",)], ids=["clear", "opaque"])
def test_a_signature_inside_verifies_in_place_and_after_encrypting(
    options: tuple[str, ...], specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_bytes(INNER % 1)
    signer = ("-signer", keys.stranger.certificate, "-inkey", keys.stranger.private_key)
    signed = tmp_path / "signed"
    openssl("cms", "-sign", "-md", "sha256", *options, *signer, "-in", text, "-out", signed)
    whole = openssl("cms", "-encrypt", "-aes256", "-in", signed, keys.old.certificate)
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", whole.replace(b"\r\n", b"\n"))])
    jobs.run(specify("decrypt", maildir, in_place=True))
    assert verifies(next((maildir / "cur").iterdir()))
    jobs.run(specify("encrypt", maildir))
    (mail,) = checker.stored_mail(maildir)
    (envelope,) = checker.envelopes(mail.raw)
    inner = tmp_path / "inner"
    inner.write_bytes(checker.opened(envelope, keys.new) or b"")
    assert verifies(inner)


def verifies(path: Path) -> bool:
    command = ["openssl", "cms", "-verify", "-noverify", "-in", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- what cannot be put in clear ------------------------------------------------------------


def test_a_forwarded_message_stays_encrypted_and_is_told(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    forward = b"Subject: fwd\nContent-Type: message/rfc822\n\n" + encrypted(1, keys.old)
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", forward)])
    census = checker.census(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 1}, 3)
    assert checker.census(maildir) == census
    for told in (summary, jobs.status(tmp_path / "job")):
        (entry,) = told.not_done
        assert (entry.state, entry.reason[:18]) == (State.CHECKPOINTED, "it stays encrypted")


@pytest.mark.parametrize(
    "field",
    [b"Content-Description: a\rFrom: mallory@example.org", b"Content-Type: text/plain\x0b"],
    ids=["bare CR", "VT"],
)
def test_a_header_inside_that_would_forge_one_outside_stays_there_and_is_told(
    field: bytes, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    inner = field + b"\r\n\r\ntext\r\n"
    forged = encrypted(1, keys.old, options=("-aes-128-gcm",), inner=inner)
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", forged)])
    census = checker.census(maildir)
    summary = jobs.run(specify("decrypt", maildir, in_place=True))
    assert (counts(summary), summary.exit_code) == ({State.CHECKPOINTED: 1}, 3)
    assert checker.census(maildir) == census
    assert summary.not_done[0].reason.startswith("it stays encrypted: the field Content-")
    jobs.run(specify("encrypt", maildir))
    (mail,) = checker.stored_mail(maildir)
    (envelope,) = checker.envelopes(mail.raw)
    assert checker.opened(envelope, keys.new) == inner


# --- killed -----------------------------------------------------------------------------


# Budget: 10 seconds.
@pytest.mark.long
@pytest.mark.parametrize("operation", ["decrypt", "encrypt", "rollback", "to-stage"])
def test_killed_at_every_point_nothing_is_lost_and_the_same_end_is_reached(
    operation: str, sample: list[Mail], specify: Specify, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    directory = tmp_path / "trial"
    maildir = directory / "Maildir"
    fill(maildir, sample[:1] + sample[3:6])

    def specification(name: str) -> jobs.Specification:
        options: dict[str, Fields] = {
            "decrypt": {"in_place": True},
            "to-stage": {"to_stage": "decrypted"},
        }
        place = maildir if name in {"decrypt", "encrypt"} else None
        run = "rollback" if name == "to-stage" else name
        usual: Fields = {"job": directory / "job"}
        return specify(run, place, **fitting(run, usual, options.get(name)))

    if operation != "decrypt":
        jobs.run(specification("decrypt"))
    if operation in {"rollback", "to-stage"}:
        jobs.run(specification("encrypt"))
    # What follows the decrypting is killed at each of its points from other beginnings.
    beside = operation in {"encrypt", "rollback"}
    trial = crash.Trial(directory, whole=whole, beside=beside)
    owner = [keys.old, keys.new]
    spec = specification(operation)
    before = readable(maildir, owner)
    wanted = counts(jobs.run(spec))
    assert "maildir.retire.before" in trial.points(spec)
    for where in trial.kills(spec):
        at_the_kill = readable(maildir, owner)
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert readable(maildir, owner) == before, where
        assert not list((maildir / "tmp").iterdir()), where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(maildir) == census, where
