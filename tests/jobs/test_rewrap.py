"""Recipients are exchanged, and no plaintext reaches a disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.cms import Profile
from sectool.errors import CertificateUnusable, NotThisMailbox, UsageError
from sectool.jobs import Reason, Selection
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, layers
from tests.support.checker import Key
from tests.support.forge import make_holder
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

REFUSING = {
    State.REWRAPPED: 3,
    State.REFUSED: 2,
    State.CLEAR: 1,
    State.MISSING_KEY: 1,
    State.MALFORMED: 1,
}
WHOLE = {
    State.REWRAPPED: 3,
    State.REENCRYPTED: 2,
    State.CLEAR: 1,
    State.MISSING_KEY: 1,
    State.MALFORMED: 1,
}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


@pytest.fixture
def before(sample: list[Mail], tmp_path: Path, keys: Keys) -> Counter[tuple[object, ...]]:
    """What the mailbox means to its owner before anything happened."""
    directory = tmp_path / "untouched"
    fill(directory, sample)
    return checker.meanings(directory, [keys.old])


@pytest.fixture
def new_keys(keys: Keys) -> KeySpecification:
    return KeySpecification((keys.new.certificate, keys.new.private_key))


def opened_by(maildir: Path, key: checker.Key) -> int:
    """How many stored messages openssl opens with a key."""
    found = (checker.inner_digests(mail.raw, [key]) for mail in checker.stored_mail(maildir))
    return sum(1 for digests in found if digests and all(digests))


# --- what it does --------------------------------------------------------------------


def test_all_that_opens_opens_for_the_new_key_and_no_more_for_the_old(
    maildir: Path, specify: Specify, keys: Keys, before: Counter[tuple[object, ...]]
) -> None:
    summary = jobs.run(specify("rewrap", maildir, or_reencrypt=True))
    assert (counts(summary), summary.exit_code) == (WHOLE, 3)
    assert (opened_by(maildir, keys.new), opened_by(maildir, keys.old)) == (5, 0)
    assert checker.meanings(maildir, [keys.new]) == before


def test_the_ciphertext_stays_as_it_is(maildir: Path, specify: Specify) -> None:
    def ciphertexts() -> set[bytes]:
        # What follows the recipients: the last 16 octets are enough to know a ciphertext by.
        return {
            envelope[-16:]
            for mail in checker.stored_mail(maildir)
            for envelope in checker.envelopes(mail.raw)
        }

    there = ciphertexts()
    jobs.run(specify("rewrap", maildir))
    assert ciphertexts() == there


def test_content_that_is_not_as_the_profile_writes_it_is_refused_and_stays(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    summary = jobs.run(specify("rewrap", maildir))
    assert (counts(summary), summary.exit_code) == (REFUSING, 3)
    reasons = {one.message_id: one.reason for one in summary.not_done}
    assert "des-ede3-cbc" in reasons["<2@example.org>"]
    assert "aes-128-gcm" in reasons["<3@example.org>"]
    assert opened_by(maildir, keys.old) == 2


def test_the_profile_says_what_is_kept(maildir: Path, specify: Specify) -> None:
    summary = jobs.run(specify("rewrap", maildir, profile=Profile.MODERN))
    assert (summary.counts[State.REWRAPPED], summary.counts[State.REFUSED]) == (1, 4)


def test_what_was_refused_is_encrypted_anew_when_asked_to(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    assert counts(jobs.run(specify("rewrap", maildir, or_reencrypt=True))) == WHOLE
    assert opened_by(maildir, keys.new) == 5


def test_running_again_changes_nothing(maildir: Path, specify: Specify) -> None:
    first = jobs.run(specify("rewrap", maildir))
    census = checker.census(maildir)
    again = jobs.run(specify("rewrap", maildir))
    assert (counts(again), again.exit_code) == (counts(first), first.exit_code)
    assert checker.census(maildir) == census


def test_a_dry_run_opens_everything_and_changes_nothing(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    census = checker.census(maildir)
    summary = jobs.run(specify("rewrap", maildir, dry_run=True))
    wanted = {**REFUSING, State.READABLE: 3}
    del wanted[State.REWRAPPED]
    assert (counts(summary), summary.exit_code) == (wanted, 3)
    assert summary.space
    assert checker.census(maildir) == census
    assert not (tmp_path / "job").exists()


def test_the_new_keys_open_what_was_exchanged(
    maildir: Path, specify: Specify, new_keys: KeySpecification
) -> None:
    summary = jobs.run(specify("rewrap", maildir, verify_keys=new_keys))
    assert summary.counts[State.VERIFIED] == 3


@pytest.mark.parametrize("kind", ["ml-kem-768", "ml-kem-1024", "p-256", "x25519"])
def test_recipients_of_every_kind_open_what_was_exchanged(
    kind: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    profile = Profile.POST_QUANTUM if kind.startswith("ml-kem") else Profile.MODERN
    maildir, file = tmp_path / "Maildir", tmp_path / f"{kind}.pem"
    fill(
        maildir, [Mail("", "cur/1.M1P1.host:2,", encrypted(1, keys.old, options=("-aes-256-gcm",)))]
    )
    file.write_bytes(make_holder(kind).pem())
    spec = specify(
        "rewrap",
        maildir,
        new_certificates=(file,),
        profile=profile,
        verify_keys=KeySpecification((file,)),
    )
    assert counts(jobs.run(spec)) == {State.VERIFIED: 1}
    assert opened_by(maildir, keys.old) == 0


def test_every_encrypted_part_of_a_message_is_exchanged(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    two = [
        layers.forward(layers.message(number, layers.encrypt(layers.TEXT, keys.old)))
        for number in (1, 2)
    ]
    maildir = tmp_path / "Maildir"
    raw = layers.stored(layers.message(3, layers.multipart(*two)))
    fill(maildir, [Mail("", "cur/1.M1P1.host:2,", raw)])
    assert counts(jobs.run(specify("rewrap", maildir))) == {State.REWRAPPED: 1}
    (mail,) = checker.stored_mail(maildir)
    assert len(set(checker.inner_digests(mail.raw, [keys.new]))) == 1
    assert len(checker.envelopes(mail.raw)) == 2
    assert checker.inner_digests(mail.raw, [keys.old]) == ("", "")


def test_mail_with_the_footer_of_a_list_is_taken_and_the_footer_stays(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    body = layers.multipart(layers.encrypt(layers.TEXT, keys.old), layers.FOOTER)
    raw = layers.stored(layers.message(1, body, layers.LIST_ID))
    fill(maildir, [Mail("", "cur/1.M1P1.host:2,", raw)])
    assert counts(jobs.run(specify("rewrap", maildir))) == {State.REWRAPPED: 1}
    (mail,) = checker.stored_mail(maildir)
    assert b"list@example.org" in mail.raw
    assert "" not in checker.inner_digests(mail.raw, [keys.new])


def test_line_ends_stay_as_the_store_has_them(specify: Specify, keys: Keys, tmp_path: Path) -> None:
    maildir = tmp_path / "Maildir"
    raw = encrypted(1, keys.old).replace(b"\n", b"\r\n")
    fill(maildir, [Mail("", "cur/1.M1P1.host:2,", raw)])
    jobs.run(specify("rewrap", maildir))
    (mail,) = checker.stored_mail(maildir)
    assert mail.raw.count(b"\n") == mail.raw.count(b"\r\n")
    assert checker.inner_digests(mail.raw, [keys.new]) != ("",)


def test_an_envelope_inside_keeps_its_recipients_and_is_told(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    inside = layers.encrypt(layers.TEXT, keys.old)
    raw = layers.stored(layers.message(1, layers.encrypt(inside, keys.old)))
    fill(maildir, [Mail("", "cur/1.M1P1.host:2,", raw)])
    summary = jobs.run(specify("rewrap", maildir))
    assert (counts(summary), summary.exit_code) == ({State.REWRAPPED: 1}, 3)
    assert len(summary.needs_old_keys) == 1


def test_a_dry_run_counts_who_would_lose_access(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    raw = layers.stored(layers.message(1, layers.encrypt(layers.TEXT, keys.old, keys.stranger)))
    fill(maildir, [Mail("", "cur/1.M1P1.host:2,", raw)])
    losing = jobs.run(specify("rewrap", maildir, dry_run=True)).losing_access
    assert losing is not None
    assert list(losing.values()) == [1]
    both = (keys.new.certificate, keys.stranger.certificate)
    kept = jobs.run(specify("rewrap", maildir, dry_run=True, new_certificates=both)).losing_access
    assert kept == {}


def test_a_certificate_of_somebody_else_stops_the_run_before_the_mailbox_is_touched(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    census = checker.census(maildir)
    with pytest.raises(CertificateUnusable):
        jobs.run(specify("rewrap", maildir, owners=("mallory@example.org",)))
    assert checker.census(maildir) == census
    assert not (tmp_path / "job").exists()


# --- plaintext -------------------------------------------------------------------------


def test_no_plaintext_reaches_the_job_directory_or_the_mailbox(
    maildir: Path, specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    jobs.run(specify("rewrap", maildir, or_reencrypt=True, workers=2))
    for root in (maildir, tmp_path / "job", temporary):
        for path in root.rglob("*"):
            assert not path.is_file() or b"this is message" not in path.read_bytes(), path
    assert list((tmp_path / "job" / "checkpoints").rglob("*.eml")) == []


# --- what it refuses ---------------------------------------------------------------------


def test_a_compromised_key_is_no_reason_to_keep_the_content(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="may know the content-encryption keys") as caught:
        jobs.run(specify("rewrap", maildir, reason=Reason.KEY_COMPROMISE))
    assert "decrypt" in caught.value.hint
    assert not (tmp_path / "job").exists()


def test_other_recipients_or_another_profile_are_refused_once_one_was_exchanged(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    with pytest.raises(UsageError, match="other recipients or another profile"):
        jobs.run(specify("rewrap", maildir, new_certificates=(keys.stranger.certificate,)))
    with pytest.raises(UsageError, match="other recipients or another profile"):
        jobs.run(specify("rewrap", maildir, profile=Profile.MODERN))


def test_another_profile_may_follow_a_run_that_exchanged_nothing(
    maildir: Path, specify: Specify
) -> None:
    no_mail = Selection(folder="Archive")
    jobs.run(specify("rewrap", maildir, selection=no_mail))
    summary = jobs.run(specify("rewrap", maildir, profile=Profile.MODERN))
    assert summary.counts[State.REWRAPPED] == 1


def test_a_job_that_was_begun_the_other_way_is_refused(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="decrypts"):
            jobs.run(specify("rewrap", maildir, dry_run=dry_run))


@pytest.mark.parametrize("operation", ["decrypt", "encrypt"])
def test_a_job_that_exchanges_recipients_is_no_other(
    operation: str, maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rewrap", maildir))
    with pytest.raises(UsageError, match="exchanges recipients"):
        jobs.run(specify(operation, maildir))


def test_another_mailbox_is_refused(
    maildir: Path, specify: Specify, sample: list[Mail], tmp_path: Path
) -> None:
    jobs.run(specify("rewrap", maildir))
    fill(tmp_path / "other", sample)
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("rewrap", tmp_path / "other"))


# --- what happens between two runs --------------------------------------------------------


def test_mail_that_came_since_is_taken_by_the_next_run(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    (maildir / "new" / "1400000000.M1P1.host").write_bytes(encrypted(20, keys.old))
    wanted = {**REFUSING, State.REWRAPPED: 4}
    assert counts(jobs.run(specify("rewrap", maildir))) == wanted


def test_mail_that_came_for_the_new_key_is_new_and_none_that_was_left(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    census = checker.census(maildir)
    arrived = maildir / "new" / "1400000000.M1P1.host"
    arrived.write_bytes(encrypted(20, keys.new))
    for _ in range(2):
        assert counts(jobs.run(specify("rewrap", maildir))) == {**REFUSING, State.NOT_IN_JOB: 1}
    arrived.unlink()
    assert checker.census(maildir) == census


def test_a_copy_of_an_exchanged_message_is_new(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("rewrap", maildir))
    path = next(p for p in (maildir / "cur").iterdir() if b"<1@example.org>" in p.read_bytes())
    (maildir / ".Sent" / "cur" / "1400000000.M1P1.host:2,S").write_bytes(path.read_bytes())
    assert counts(jobs.run(specify("rewrap", maildir))) == {**REFUSING, State.NOT_IN_JOB: 1}


def test_retrying_takes_only_what_could_not_be_done(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir, or_reencrypt=True))
    (maildir / "new" / "1400000000.M1P1.host").write_bytes(encrypted(20, keys.old))
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    summary = jobs.run(specify("rewrap", maildir, keys=both, or_reencrypt=True, retry=True))
    assert summary.retried is not None
    assert (summary.retried.states, summary.retried.done) == (
        {State.MISSING_KEY: 1, State.MALFORMED: 1},
        1,
    )
    assert (summary.counts[State.REWRAPPED], summary.counts[State.REENCRYPTED]) == (4, 2)
    assert summary.counts[State.NOT_SELECTED] == 1


def test_a_folder_in_which_too_much_fails_is_left_and_told(
    maildir: Path, specify: Specify, keys: Keys, alike: tuple[Key, Key]
) -> None:
    right, wrong = alike
    shut = encrypted(30, right)
    for number in range(12):
        (maildir / ".Sent" / "cur" / f"12000000{number:02}.M1P1.host:2,").write_bytes(shut)
    history = KeySpecification((keys.history, wrong.certificate, wrong.private_key))
    summary = jobs.run(specify("rewrap", maildir, keys=history))
    assert [left.folder for left in summary.left_folders] == ["Sent"]
    assert not summary.is_finished


def test_the_limit_leaves_the_rest_to_the_next_run(maildir: Path, specify: Specify) -> None:
    summary = jobs.run(specify("rewrap", maildir, selection=Selection(limit=2), or_reencrypt=True))
    assert summary.counts[State.NOT_SELECTED] == 6
    assert not summary.is_finished
    whole = jobs.run(specify("rewrap", maildir, or_reencrypt=True))
    assert (counts(whole), whole.is_finished) == (WHOLE, True)


def test_mail_that_its_owner_deletes_is_missed_only_once_it_was_replaced(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rewrap", maildir))
    mail = {
        line.decode(): path
        for path in (maildir / "cur").iterdir()
        for line in path.read_bytes().splitlines()
        if line.startswith(b"Message-ID:")
    }
    mail["Message-ID: <1@example.org>"].unlink()  # replaced
    mail["Message-ID: <2@example.org>"].unlink()  # refused
    mail["Message-ID: <clear@example.org>"].unlink()
    wanted = {
        State.REWRAPPED: 2,
        State.LOST: 1,
        State.REFUSED: 1,
        State.MISSING_KEY: 1,
        State.MALFORMED: 1,
    }
    assert counts(jobs.run(specify("rewrap", maildir))) == wanted


def test_a_replaced_message_that_its_owner_changed_is_left_to_them(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rewrap", maildir))
    path = next(p for p in (maildir / "cur").iterdir() if b"<1@example.org>" in p.read_bytes())
    path.write_bytes(b"Message-ID: <1@example.org>\nSubject: mine now\n\nmine\n")
    wanted = {**REFUSING, State.REWRAPPED: 2, State.CHANGED: 1}
    for _ in range(2):
        assert counts(jobs.run(specify("rewrap", maildir))) == wanted
    assert b"mine now" in path.read_bytes()


def test_old_mail_that_comes_back_from_a_backup_is_exchanged_once_more(
    maildir: Path, specify: Specify, sample: list[Mail], keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    for path in [p for p in (maildir / "cur").iterdir() if b"<1@example.org>" in p.read_bytes()]:
        path.unlink()
    (maildir / sample[0].name).write_bytes(sample[0].raw)
    assert counts(jobs.run(specify("rewrap", maildir))) == REFUSING
    assert opened_by(maildir, keys.new) == 3


def test_verify_fails_while_old_mail_that_came_back_waits(
    maildir: Path, specify: Specify, sample: list[Mail], keys: Keys
) -> None:
    both = KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))
    next((maildir / "cur").glob("1300000008*")).unlink()  # the damaged one
    jobs.run(specify("rewrap", maildir, keys=both, or_reencrypt=True))
    assert jobs.run(specify("verify", None)).exit_code == 0
    next(p for p in (maildir / "cur").iterdir() if b"<1@example.org>" in p.read_bytes()).unlink()
    (maildir / sample[0].name).write_bytes(sample[0].raw)
    summary = jobs.run(specify("verify", None))
    assert (summary.counts[State.READABLE], summary.exit_code) == (1, 3)
    again = jobs.run(specify("rewrap", maildir, keys=both, or_reencrypt=True))
    replaced = again.counts[State.REWRAPPED], again.counts[State.REENCRYPTED]
    assert (replaced, again.exit_code) == ((4, 2), 0)


def test_with_the_new_keys_alone_nothing_is_taken_back(
    maildir: Path, specify: Specify, new_keys: KeySpecification
) -> None:
    jobs.run(specify("rewrap", maildir, or_reencrypt=True))
    assert counts(jobs.run(specify("rewrap", maildir, keys=new_keys, or_reencrypt=True))) == WHOLE


def test_a_mailbox_that_was_moved_is_followed_once_verify_has_found_the_job_there(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rewrap", maildir))
    there = maildir.rename(maildir.with_name("elsewhere"))
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("rewrap", there))
    jobs.run(specify("verify", there))
    assert counts(jobs.run(specify("rewrap", there))) == REFUSING


# --- after it ---------------------------------------------------------------------------


def test_verify_proves_and_retires_the_old_key(
    maildir: Path, specify: Specify, keys: Keys, new_keys: KeySpecification
) -> None:
    jobs.run(specify("rewrap", maildir, or_reencrypt=True))
    old = KeySpecification((keys.history,))
    summary = jobs.run(specify("verify", None, verify_keys=new_keys, retire=old))
    assert summary.counts[State.VERIFIED] == 5
    assert summary.retire is not None
    assert [key.needed for key in summary.retire] == [0]


def test_rollback_puts_the_originals_back_and_ends_the_job(
    maildir: Path, specify: Specify, before: Counter[tuple[object, ...]], keys: Keys
) -> None:
    jobs.run(specify("rewrap", maildir))
    assert jobs.run(specify("rollback", None)).counts[State.ROLLED_BACK] == 3
    assert checker.meanings(maildir, [keys.old]) == before
    with pytest.raises(UsageError, match="rolled back"):
        jobs.run(specify("rewrap", maildir))


def test_purge_removes_the_originals_and_the_messages_stay(
    maildir: Path, specify: Specify, tmp_path: Path, new_keys: KeySpecification
) -> None:
    jobs.run(specify("rewrap", maildir))
    originals = tmp_path / "job" / "originals"
    assert len(list(originals.iterdir())) == 3
    census = checker.census(maildir)
    summary = jobs.run(specify("purge", None, verify_keys=new_keys))
    assert (summary.counts[State.VERIFIED], summary.job_data_removed) == (3, 3)
    assert (summary.purged.originals, summary.purged.checkpoints, summary.purged.kept) == (3, 0, 0)
    assert list(originals.iterdir()) == []
    assert checker.census(maildir) == census
    assert jobs.run(specify("rewrap", maildir)).job_data_removed == 3


def test_status_tells_the_phase(maildir: Path, specify: Specify, tmp_path: Path) -> None:
    jobs.run(specify("rewrap", maildir))
    summary = jobs.status(tmp_path / "job")
    assert (summary.phase, summary.is_finished, counts(summary)) == ("rewrap", True, REFUSING)
