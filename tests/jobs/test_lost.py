"""``encrypt --restore-lost``: what a move lost comes back, encrypted, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
ENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def remove(maildir: Path, *numbers: int) -> None:
    """The owner, or a bad move, loses messages of the sample, whatever their files are called."""
    for number in numbers:
        wanted = b"Message-ID: <%d@example.org>" % number
        for part in ("cur/*", "new/*"):
            for path in maildir.rglob(part):
                if wanted in path.read_bytes():
                    path.unlink()


def recovered(maildir: Path) -> list[Path]:
    return sorted((maildir / ".Recovered" / "cur").glob("*"))


def meaning_without_flags(maildir: Path, keys: Keys) -> list[tuple[object, ...]]:
    owner = [keys.old, keys.new]
    return sorted(
        (checker.header_without_content_fields(mail.raw), checker.inner_digests(mail.raw, owner))
        for mail in checker.stored_mail(maildir)
    )


@pytest.fixture
def decrypted(maildir: Path, specify: Specify) -> Path:
    jobs.run(specify("decrypt", maildir))
    return maildir


def test_mail_lost_before_it_was_encrypted_comes_back(
    decrypted: Path, specify: Specify, keys: Keys
) -> None:
    before = meaning_without_flags(decrypted, keys)
    remove(decrypted, 1, 3)
    summary = jobs.run(specify("encrypt", decrypted, restore_lost=True))
    assert (counts(summary), summary.brought_back) == (ENCRYPTED, 2)
    assert len(recovered(decrypted)) == 2
    assert meaning_without_flags(decrypted, keys) == before


def test_it_has_its_date_and_only_the_new_key_opens_it(
    decrypted: Path, specify: Specify, keys: Keys
) -> None:
    (path,) = (decrypted / "cur").glob("1300000001*")
    date = int(path.stat().st_mtime)
    remove(decrypted, 1)
    jobs.run(specify("encrypt", decrypted, restore_lost=True))
    (path,) = recovered(decrypted)
    assert int(path.stat().st_mtime) == date
    (envelope,) = checker.envelopes(path.read_bytes())
    assert checker.opened(envelope, keys.new) is not None
    assert checker.opened(envelope, keys.old) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_mail_lost_after_it_was_encrypted_comes_back_as_it_was(
    decrypted: Path, specify: Specify, keys: Keys, workers: int
) -> None:
    jobs.run(specify("encrypt", decrypted))
    before = meaning_without_flags(decrypted, keys)
    remove(decrypted, 2, 4)
    summary = jobs.run(specify("encrypt", decrypted, restore_lost=True, workers=workers))
    # Number 4 is mail to oneself: two messages.
    assert (counts(summary), summary.brought_back) == (ENCRYPTED, 3)
    assert meaning_without_flags(decrypted, keys) == before


def test_a_second_run_changes_nothing(decrypted: Path, specify: Specify) -> None:
    remove(decrypted, 1)
    jobs.run(specify("encrypt", decrypted, restore_lost=True))
    census = checker.census(decrypted)
    summary = jobs.run(specify("encrypt", decrypted, restore_lost=True))
    assert (counts(summary), summary.brought_back) == (ENCRYPTED, 0)
    assert checker.census(decrypted) == census


def test_what_came_back_can_be_proven_moved_and_purged(
    decrypted: Path, specify: Specify, keys: Keys
) -> None:
    remove(decrypted, 1)
    jobs.run(specify("encrypt", decrypted, restore_lost=True))
    for path in recovered(decrypted):
        path.rename(decrypted / "cur" / path.name)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    wanted = {**OTHERS, State.VERIFIED: 5}
    assert counts(jobs.run(specify("verify", None, verify_keys=new))) == wanted
    summary = jobs.run(specify("purge", None))
    assert (counts(summary), summary.job_data_removed) == (wanted, 5)


def test_a_rollback_says_that_what_came_back_stays(decrypted: Path, specify: Specify) -> None:
    next((decrypted / "cur").glob("1300000001.*")).unlink()
    jobs.run(specify("encrypt", decrypted, restore_lost=True))
    summary = jobs.run(specify("rollback", None))
    assert (summary.counts[State.REENCRYPTED], summary.failure_code) == (1, 3)
    again = jobs.run(specify("rollback", None))
    assert (again.counts, again.failure_code) == (summary.counts, 3)


def test_a_dry_run_counts_and_adds_nothing(decrypted: Path, specify: Specify) -> None:
    remove(decrypted, 1, 2)
    census = checker.census(decrypted)
    summary = jobs.run(specify("encrypt", decrypted, restore_lost=True, dry_run=True))
    assert summary.brought_back == 2
    assert checker.census(decrypted) == census


def test_without_being_asked_nothing_comes_back(decrypted: Path, specify: Specify) -> None:
    remove(decrypted, 1)
    summary = jobs.run(specify("encrypt", decrypted))
    assert (summary.counts[State.LOST], summary.brought_back) == (1, None)
    assert not (decrypted / ".Recovered").exists()


def forward(inner: bytes) -> bytes:
    """A mail of which only a forwarded message is encrypted."""
    return (
        b"From: carol@example.org\nTo: bob@example.org\nSubject: see below\n"
        b"Message-ID: <9@example.org>\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/mixed; boundary=outer\n\n"
        b"--outer\nContent-Type: text/plain\n\nlook\n"
        b"--outer\nContent-Type: message/rfc822\n\n" + inner + b"\n--outer--\n"
    )


@pytest.fixture
def with_forward(tmp_path: Path, keys: Keys, sample: list[Mail]) -> Path:
    directory = tmp_path / "Maildir"
    forwarded = Mail("", "cur/1300000009.M9P1.host:2,", forward(encrypted(9, keys.old)))
    fill(directory, [*sample, forwarded])
    return directory


def test_of_a_forward_lost_too_early_it_is_told_that_the_rest_was_not_kept(
    with_forward: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", with_forward))
    next((with_forward / "cur").glob("1300000009*")).unlink()
    summary = jobs.run(specify("encrypt", with_forward, restore_lost=True))
    assert (summary.brought_back, sum(summary.not_brought_back.values())) == (0, 1)
    assert (summary.counts[State.LOST], summary.exit_code) == (1, 3)


def test_a_forward_comes_back_whole_from_its_original(
    with_forward: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", with_forward))
    jobs.run(specify("encrypt", with_forward))
    before = meaning_without_flags(with_forward, keys)
    for path in (with_forward / "cur").iterdir():
        if b"see below" in path.read_bytes():
            path.unlink()
    summary = jobs.run(specify("encrypt", with_forward, restore_lost=True))
    assert (summary.brought_back, summary.counts[State.LOST]) == (1, 0)
    assert meaning_without_flags(with_forward, keys) == before


def test_clear_mail_that_was_encrypted_comes_back_from_its_original(
    decrypted: Path, specify: Specify, keys: Keys
) -> None:
    included = specify("encrypt", decrypted, include_clear=True)
    jobs.run(included)
    (path,) = [p for p in decrypted.rglob("cur/*") if b"<clear@example.org>" in p.read_bytes()]
    (envelope,) = checker.envelopes(path.read_bytes())
    inner = checker.opened(envelope, keys.new)
    path.unlink()
    assert jobs.run(included).counts[State.LOST] == 1
    summary = jobs.run(specify("encrypt", decrypted, include_clear=True, restore_lost=True))
    assert (summary.brought_back, summary.counts[State.LOST]) == (1, 0)
    (path,) = recovered(decrypted)
    (envelope,) = checker.envelopes(path.read_bytes())
    assert checker.opened(envelope, keys.new) == inner
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    assert jobs.run(specify("verify", None, verify_keys=new)).counts[State.LOST] == 0


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_where_the_original_is_damaged_the_checkpoint_is_enough(
    decrypted: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    jobs.run(specify("encrypt", decrypted))
    before = meaning_without_flags(decrypted, keys)
    remove(decrypted, 1)
    for path in (tmp_path / "job" / "originals").iterdir():
        damage(path)
    assert jobs.run(specify("encrypt", decrypted, restore_lost=True)).brought_back == 1
    assert meaning_without_flags(decrypted, keys) == before


def test_a_damaged_checkpoint_is_told_and_nothing_is_made_of_it(
    decrypted: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("encrypt", decrypted))
    remove(decrypted, 1)
    for path in (tmp_path / "job" / "checkpoints").glob("*.eml"):
        damage(path)
    summary = jobs.run(specify("encrypt", decrypted, restore_lost=True))
    assert (summary.brought_back, summary.counts[State.LOST]) == (0, 1)
    assert any("checkpoint" in reason for reason in summary.not_brought_back)
    assert not recovered(decrypted)


# Budget: 5 seconds.
@pytest.mark.long
def test_killed_at_every_point_it_resumes_to_the_same_end_and_nothing_comes_twice(
    sample: list[Mail], tmp_path: Path, specify: Specify, keys: Keys, whole: bool
) -> None:
    place = tmp_path / "trial"
    maildir, job = place / "Maildir", place / "job"
    fill(maildir, sample)
    before = meaning_without_flags(maildir, keys)
    jobs.run(specify("decrypt", maildir, job=job))
    jobs.run(specify("encrypt", maildir, job=job))
    remove(maildir, 1, 4)
    trial = crash.Trial(place, whole=whole)
    spec = specify("encrypt", maildir, job=job, restore_lost=True)
    assert any(name.startswith("maildir.place") for name in trial.points(spec))
    for where in trial.kills(spec):
        assert counts(jobs.run(spec)) == ENCRYPTED, where
        assert meaning_without_flags(maildir, keys) == before, where
        assert not list(maildir.rglob("tmp/*")), where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == ENCRYPTED
            assert checker.census(maildir) == census
