"""The job log: what is in it after a crash, and what it refuses to believe."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool.errors import JobLogDamaged, JobLogVersion
from sectool.joblog import (
    CheckpointRecord,
    Examination,
    JobLog,
    LayerRecord,
    PartRecord,
    Purpose,
    ReplacementRecord,
)
from sectool.joblog.schema import TABLES
from sectool.message import Flags, Intent, Listing, MessageRef
from sectool.outcome import (
    ContentDigest,
    Identity,
    Integrity,
    PlaintextDigest,
    Proof,
    RecipientKey,
    State,
)
from sectool.summary import Summary

INBOX_COPY = MessageRef("INBOX", "1.M1P1.host")
SENT_COPY = MessageRef("Sent", "2.M1P1.host")


def named(name: str) -> Identity:
    """An identity."""
    return Identity(hashlib.sha256(name.encode()).hexdigest())


ONE, TWO, NEW = map(named, ("one", "two", "new"))


def examined(
    ref: MessageRef = INBOX_COPY, state: State = State.CHECKPOINTED, identity: Identity = ONE
) -> Examination:
    digest = ContentDigest(named(f"{identity}-digest"))
    return Examination(
        listing=Listing(ref, 100, Flags(), "100:1:1", datetime(2019, 1, 2, 3, 4, 5, tzinfo=UTC)),
        identity=identity,
        state=state,
        year="2019",
        parts=(PartRecord("", digest, "aes-256-cbc"),),
        checkpoints=(
            CheckpointRecord(digest, PlaintextDigest("ab" * 32), 50, "1.2.3", Integrity.NONE),
        ),
    )


def listing(ref: MessageRef, hint: str = "100:1:1") -> Listing:
    return Listing(ref, 100, Flags(), hint)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.db"


@pytest.fixture
def log(path: Path) -> Iterator[JobLog]:
    with JobLog.create(path) as log:
        log.messages.begin_walk()
        yield log


def recorded(log: JobLog, *examinations: Examination) -> list[int]:
    with log.group():
        return [log.messages.record(examination) for examination in examinations]


def counts(log: JobLog) -> dict[State, int]:
    summary = Summary()
    log.counts.summarise(summary)
    assert sum(summary.counts.values()) == summary.messages
    return dict(summary.counts)


def replacement(message: int) -> ReplacementRecord:
    intent = Intent(INBOX_COPY, "old", "INBOX", "where", NEW, 120)
    return ReplacementRecord(message, Purpose.ENCRYPT, intent, NEW, (("1", ONE),))


def finish(log: JobLog, message: int, new: MessageRef) -> None:
    done = Listing(new, 120, Flags(), "120:1:2")
    log.replacements.finish({message: done}, State.REENCRYPTED, Proof.STRUCTURAL)


def test_what_a_group_wrote_is_there_when_the_log_is_opened_again(log: JobLog, path: Path) -> None:
    recorded(log, examined())
    log.close()
    with JobLog.open(path) as again:
        assert counts(again) == {State.CHECKPOINTED: 1}


def test_a_group_that_fails_leaves_nothing_behind(log: JobLog) -> None:
    def fail() -> None:
        with log.group():
            log.messages.record(examined())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert counts(log) == {}


def test_the_same_ciphertext_in_two_folders_is_two_messages(log: JobLog) -> None:
    first, second = recorded(log, examined(), examined(SENT_COPY))
    assert first != second
    assert counts(log) == {State.CHECKPOINTED: 2}


def test_a_message_that_moved_between_folders_keeps_its_row(log: JobLog) -> None:
    (first,) = recorded(log, examined())
    log.messages.begin_walk()
    (again,) = recorded(log, examined(SENT_COPY))
    assert again == first
    known = log.messages.at(SENT_COPY)
    assert known is not None
    assert known.message == first


def test_an_examination_with_fewer_keys_does_not_take_a_checkpoint_back(log: JobLog) -> None:
    recorded(log, examined())
    log.messages.begin_walk()
    recorded(log, replace(examined(state=State.MISSING_KEY), checkpoints=()))
    assert counts(log) == {State.CHECKPOINTED: 1}


def test_an_examination_with_more_keys_makes_a_missing_key_good(log: JobLog) -> None:
    recorded(log, replace(examined(state=State.MISSING_KEY), checkpoints=()))
    log.messages.begin_walk()
    recorded(log, examined())
    assert counts(log) == {State.CHECKPOINTED: 1}


def test_a_message_the_user_deleted_before_the_move_is_not_counted(log: JobLog) -> None:
    recorded(log, examined(), examined(SENT_COPY, identity=TWO))
    log.messages.begin_walk()
    with log.group():
        log.messages.claim(listing(INBOX_COPY), ONE)
        log.messages.end_walk(unseen="gone")
    assert counts(log) == {State.CHECKPOINTED: 1}


def test_a_message_not_found_after_the_move_is_counted_as_lost(log: JobLog) -> None:
    recorded(log, examined(), examined(SENT_COPY, identity=TWO))
    log.messages.begin_walk()
    with log.group():
        log.messages.claim(listing(INBOX_COPY), ONE)
        log.messages.end_walk(unseen="lost")
    assert counts(log) == {State.CHECKPOINTED: 1, State.LOST: 1}


def test_two_equal_copies_are_claimed_by_two_rows_and_a_third_by_none(log: JobLog) -> None:
    recorded(log, examined(), examined(SENT_COPY))
    log.messages.begin_walk()
    places = [MessageRef("Moved", name) for name in ("a", "b", "c")]
    with log.group():
        claims = [log.messages.claim(listing(place), ONE) for place in places]
    assert [claim is not None for claim in claims] == [True, True, False]


def test_what_waits_to_be_sealed_was_seen_and_has_all_its_checkpoints(log: JobLog) -> None:
    without_checkpoint = replace(
        examined(MessageRef("INBOX", "x"), State.MISSING_KEY, named("three")), checkpoints=()
    )
    recorded(log, examined(), examined(SENT_COPY, identity=TWO), without_checkpoint)
    log.messages.begin_walk()
    with log.group():
        log.messages.claim(listing(INBOX_COPY), ONE)
    (waiting,) = log.waiting.sealable()
    assert waiting.ref == INBOX_COPY
    assert waiting.parts[0].checkpoint.content_digest == ContentDigest(named(f"{ONE}-digest"))


def test_a_finished_replacement_is_known_by_its_new_identity_and_place(log: JobLog) -> None:
    (message,) = recorded(log, examined())
    new = MessageRef("INBOX", "new")
    with log.group():
        log.replacements.intend([replacement(message)])
        log.replacements.place({message: new})
        finish(log, message, new)
    assert log.replacements.open() == []
    assert counts(log) == {State.REENCRYPTED: 1}
    log.messages.begin_walk()
    assert log.messages.claim(listing(new), NEW) is not None
    assert list(log.waiting.sealable()) == []


def test_an_old_copy_that_comes_back_is_encrypted_again(log: JobLog) -> None:
    (message,) = recorded(log, examined())
    with log.group():
        log.replacements.intend([replacement(message)])
        finish(log, message, MessageRef("INBOX", "new"))
    log.messages.begin_walk()
    with log.group():
        assert log.messages.claim(listing(INBOX_COPY), ONE) is None
        assert log.messages.claim_returned(listing(INBOX_COPY), ONE) is not None
    assert [waiting.message for waiting in log.waiting.sealable()] == [message]


def test_an_interrupted_replacement_is_found_open(log: JobLog, path: Path) -> None:
    (message,) = recorded(log, examined())
    with log.group():
        log.replacements.intend([replacement(message)])
    log.close()
    with JobLog.open(path) as again:
        assert again.replacements.open() == [replacement(message)]


@pytest.mark.parametrize("purpose", Purpose)
def test_a_withdrawn_replacement_that_turns_up_is_open_again_as_it_was_intended(
    log: JobLog, purpose: Purpose
) -> None:
    (message,) = recorded(log, examined())
    intended = replace(replacement(message), purpose=purpose)
    with log.group():
        log.replacements.intend([intended])
        log.replacements.withdraw(message)
    assert log.replacements.open() == []
    with log.group():
        ((number, abandoned),) = log.replacements.abandoned().items()
        assert log.replacements.meet_late(number, INBOX_COPY) == message
    assert abandoned == intended
    met = replace(intended.intent, met=INBOX_COPY)
    assert log.replacements.open() == [replace(intended, intent=met)]
    with log.group():
        assert log.replacements.abandoned() == {}


def test_what_turns_up_of_a_message_that_was_replaced_since_is_a_copy_too_many(
    log: JobLog,
) -> None:
    (message,) = recorded(log, examined())
    there = MessageRef("INBOX", "late")
    with log.group():
        log.replacements.intend([replacement(message)])
        log.replacements.withdraw(message)
        log.replacements.intend([replacement(message)])
        finish(log, message, INBOX_COPY)
    with log.group():
        ((number, abandoned),) = log.replacements.abandoned().items()
        assert log.replacements.meet_late(number, there) is None
    assert log.replacements.is_late_at(there)
    met = replace(abandoned, intent=replace(abandoned.intent, met=there))
    assert log.replacements.late() == [(met, INBOX_COPY, NEW)]
    with log.group():
        assert list(log.replacements.abandoned()) == [number]
        log.replacements.forget_abandoned()
    with log.group():
        assert log.replacements.abandoned() == {}


ILLEGAL = [
    (State.CLEAR, State.VERIFIED),
    (State.MISSING_KEY, State.REENCRYPTED),
    (State.CHECKPOINTED, State.CLEAR),
    (State.CHECKPOINTED, State.MISSING_KEY),
]


def test_an_opened_copy_that_was_purged_keeps_its_state_and_proof(log: JobLog) -> None:
    (message,) = recorded(log, examined())
    with log.group():
        log.replacements.intend([replacement(message)])
        finish(log, message, MessageRef("INBOX", "new"))
        log.messages.advance(message, State.VERIFIED, proof=Proof.OPENED)
        log.purges.release(accept_unproven=False, abandon=False)
        log.purges.intend(log.purges.removal(log.purges.released()))
        log.purges.finish()
    summary = Summary()
    log.counts.summarise(summary)
    assert counts(log) == {State.VERIFIED: 1}
    assert summary.job_data_removed == 1
    assert log.replaced.count_purged() == 1
    assert list(log.replaced.to_roll_back()) == []


def test_what_was_given_up_before_it_was_replaced_is_only_readable(log: JobLog) -> None:
    recorded(log, examined())
    with log.group():
        log.purges.release(accept_unproven=False, abandon=True)
        log.purges.intend(log.purges.removal(log.purges.released()))
        log.purges.finish()
    assert counts(log) == {State.READABLE: 1}
    assert log.purges.count_abandoned() == 1
    assert list(log.waiting.sealable()) == []
    log.messages.begin_walk()
    recorded(log, examined())
    assert counts(log) == {State.CHECKPOINTED: 1}
    assert log.purges.count_abandoned() == 0


@pytest.mark.parametrize(("start", "end"), ILLEGAL)
def test_an_illegal_step_is_refused(log: JobLog, start: State, end: State) -> None:
    (message,) = recorded(log, examined(state=start))
    with pytest.raises(JobLogDamaged), log.group():
        log.messages.advance(message, end)


def test_an_address_in_an_issuer_does_not_get_into_the_log(log: JobLog, path: Path) -> None:
    issuer = "1.2.840.113549.1.9.1=somebody@example.org,CN=Self Signed"
    reason = f"no key for any recipient: issuer {issuer}, serial number 01"
    layer = LayerRecord("", "1", ContentDigest(TWO), (), reason)
    named = replace(examined(), recipients=(RecipientKey(issuer, "01", ""),), layers=(layer,))
    missing = replace(named, state=State.MISSING_KEY, reason=reason)
    (message,) = recorded(log, missing)
    with log.group():
        log.messages.advance(message, State.MISSING_KEY, reason=reason)
    log.close()
    assert b"somebody@example.org" not in path.read_bytes()


def test_a_rehearsal_leaves_the_file_as_it_was(log: JobLog, path: Path) -> None:
    recorded(log, examined())
    log.close()
    before = path.read_bytes()
    with JobLog.rehearsal(path) as rehearsal:
        rehearsal.messages.begin_walk()
        recorded(rehearsal, examined(SENT_COPY, identity=TWO))
        assert counts(rehearsal) == {State.CHECKPOINTED: 2}
    assert path.read_bytes() == before


# --- B81: what a stranger, or a bad disk, may have made of the file ----------------


def test_b81_a_file_that_is_not_sqlite_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at" * 50)
    path.chmod(0o600)
    with pytest.raises(JobLogDamaged):
        JobLog.open(path)


def test_b81_another_programs_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    path.chmod(0o600)
    with pytest.raises(JobLogDamaged):
        JobLog.open(path)


def test_b81_a_trigger_that_somebody_added_is_refused(log: JobLog, path: Path) -> None:
    log.close()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TRIGGER t AFTER UPDATE ON message BEGIN DELETE FROM part; END")
    connection.close()
    with pytest.raises(JobLogDamaged):
        JobLog.open(path)


def test_b81_a_newer_schema_is_refused_as_such(log: JobLog, path: Path) -> None:
    log.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JobLogVersion):
        JobLog.open(path)


def test_b81_every_damaged_page_is_noticed_or_harmless(log: JobLog, path: Path) -> None:
    recorded(
        log, *(examined(MessageRef("INBOX", str(n)), identity=named(str(n))) for n in range(50))
    )
    log.close()
    whole = path.read_bytes()
    for page in range(0, len(whole), 4096):
        path.write_bytes(whole[:page] + b"\xa5" * 100 + whole[page + 100 :])
        try:
            with JobLog.open(path) as damaged:
                counts(damaged)
        except JobLogDamaged:
            continue
        except sqlite3.DatabaseError:
            pytest.fail("an error of SQLite came through")


def test_b81_a_truncated_file_is_refused(log: JobLog, path: Path) -> None:
    recorded(
        log, *(examined(MessageRef("INBOX", str(n)), identity=named(str(n))) for n in range(50))
    )
    log.close()
    path.write_bytes(path.read_bytes()[: 4096 * 3])
    with pytest.raises(JobLogDamaged):
        JobLog.open(path)


def test_a_half_made_log_does_not_stand_in_the_way(path: Path) -> None:
    path.with_name("job.db.new").write_bytes(b"half")
    with JobLog.create(path) as log:
        assert log.value("job")


# --- thousands of equal mails -----------------------------------------------------


def _claiming_time(path: Path, identities: list[Identity]) -> float:
    """Processor seconds it takes to find messages again of which every name and folder is new."""
    with JobLog.create(path) as log:
        log.messages.begin_walk()
        recorded(
            log,
            *(
                examined(MessageRef("INBOX", f"old{number}"), identity=identity)
                for number, identity in enumerate(identities)
            ),
        )
        log.messages.begin_walk(unseen="lost")
        begun = time.process_time()
        with log.group():
            for number, identity in enumerate(identities):
                copy = listing(MessageRef("Archive", f"new{number}"))
                assert log.messages.claim(copy, identity) is not None
            assert log.messages.claim(listing(SENT_COPY), identities[0]) is None
        return time.process_time() - begun


def test_equal_mails_are_found_again_about_as_fast_as_different_ones(tmp_path: Path) -> None:
    count = 1000
    ratios = [
        _claiming_time(tmp_path / f"equal{run}", [named("same")] * count)
        / _claiming_time(
            tmp_path / f"different{run}", [named(str(number)) for number in range(count)]
        )
        for run in range(3)
    ]
    # Looking through all for each would take some hundred times as long.
    assert statistics.median(ratios) < 5


def test_every_column_of_every_table_is_held_to_a_form() -> None:
    """But texts of which mail decides, and what is worked out from others."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        for table, sql in connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})"):
                held = rf"^    {column} (TEXT|(TEXT|INTEGER) CONSTRAINT \"{column}\" CHECK) "
                assert re.search(held, sql.replace("TEXT,", "TEXT "), re.MULTILINE), column


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE replacement SET new_key = 'half a place'",
        "UPDATE replacement SET new_folder = 'half a place'",
        "UPDATE checkpoint SET written = -62135596800000000",
        "UPDATE checkpoint SET written = 253402300799999999",
    ],
)
def test_what_no_run_notes_is_damage(log: JobLog, path: Path, change: str) -> None:
    (message,) = recorded(log, examined())
    with log.group():
        log.replacements.intend([replacement(message)])
    log.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(change).rowcount == 1
    with pytest.raises(JobLogDamaged), JobLog.open(path):
        pass


def test_a_row_beyond_the_limit_is_damage(path: Path) -> None:
    with JobLog.create(path) as log:
        log.messages.begin_walk()
        recorded(log, examined())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE message SET hint = replace(hex(zeroblob(?)), '00', 'x')", (2**26,)
        )
    with pytest.raises(JobLogDamaged), JobLog.open(path) as log:
        log.messages.at(INBOX_COPY)


def test_long_reasons_of_many_messages_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sectool.joblog.counts._REASONS", 10_000)
    with JobLog.create(tmp_path / "job.db") as log:
        log.messages.begin_walk()
        with log.group():
            for number in range(100):
                reason = f"{number} " + "long " * 1000
                one = examined(
                    MessageRef("INBOX", f"{number}.host"), State.MALFORMED, named(str(number))
                )
                log.messages.record(replace(one, reason=reason))
        summary = Summary()
        log.counts.summarise(summary)
    reasons = {entry.reason for entry in summary.not_done}
    assert len(summary.not_done) == summary.counts[State.MALFORMED] == 100
    assert sum(map(len, reasons)) < 10_000 + 100 * 101
    assert max(map(len, reasons)) == 2000


def test_a_reason_of_many_messages_is_kept_once(tmp_path: Path) -> None:
    with JobLog.create(tmp_path / "job.db") as log:
        log.messages.begin_walk()
        with log.group():
            for number in range(10):
                one = examined(
                    MessageRef("INBOX", f"{number}.host"), State.MALFORMED, named(str(number))
                )
                log.messages.record(replace(one, reason="it is cut off"))
        summary = Summary()
        log.counts.summarise(summary)
    assert len({id(entry.reason) for entry in summary.not_done}) == 1
