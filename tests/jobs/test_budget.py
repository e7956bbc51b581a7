"""What one message may cost is counted over all of it; beyond that it is told and tried harder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import budget, jobs
from sectool.budget import Work
from sectool.jobs.work import pool
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.retirement import Answer
from sectool.summary import Summary
from tests.support import pool_work
from tests.support.layers import TEXT, encrypt, forward, message, multipart, stored
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.pool_work import Task
from tests.support.specifications import Specify

PARTS = 5
Limit = Callable[[Work, int], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Sets a limit of one message."""
    return lambda work, most: monkeypatch.setattr(budget, "MESSAGE", {**budget.MESSAGE, work: most})


@pytest.fixture
def maildir(keys: Keys, tmp_path: Path) -> Path:
    """One message of several encrypted parts, each a private-key operation."""
    inner = forward(message(2, encrypt(TEXT, keys.old)))
    raw = message(1, multipart(*[inner] * PARTS, boundary=b"mixed"))
    fill(tmp_path / "Maildir", [Mail("", "cur/1300000001.M1P1.host:2,S", stored(raw))])
    return tmp_path / "Maildir"


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def test_the_operations_of_all_parts_are_counted_together(
    maildir: Path, specify: Specify, limit: Limit
) -> None:
    limit(Work.PRIVATE_KEY, PARTS - 1)
    summary = jobs.run(specify("scan", maildir))
    assert counts(summary) == {State.UNSUPPORTED: 1}
    reason = "beyond the limit of 4 private-key operations; --limit-factor 10 tries harder"
    assert [one.reason for one in summary.not_done] == [reason]
    assert not summary.is_safe_to_move
    limit(Work.PRIVATE_KEY, PARTS)
    assert counts(jobs.run(specify("scan", maildir))) == {State.READABLE: 1}


def test_a_run_that_tries_harder_tries_it_again_and_no_other_does(
    maildir: Path, specify: Specify, limit: Limit
) -> None:
    limit(Work.PRIVATE_KEY, 1)
    first = jobs.run(specify("decrypt", maildir, limit_factor=3))
    assert counts(first) == {State.UNSUPPORTED: 1}
    limit(Work.PRIVATE_KEY, 1_000)  # it would open now
    for factor in (1, 3):
        again = jobs.run(specify("decrypt", maildir, limit_factor=factor))
        assert counts(again) == {State.UNSUPPORTED: 1}
    harder = jobs.run(specify("decrypt", maildir, limit_factor=4))
    assert counts(harder) == {State.CHECKPOINTED: 1}


def test_what_is_beyond_a_limit_keeps_every_old_key(
    maildir: Path, specify: Specify, keys: Keys, limit: Limit
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    inner = forward(message(3, encrypt(TEXT, keys.new)))
    late = message(4, multipart(*[inner] * PARTS, boundary=b"mixed"))
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(stored(late))
    new, old = (
        KeySpecification((key.certificate, key.private_key)) for key in (keys.new, keys.old)
    )
    verify = specify("verify", None, retire=old, verify_keys=new)
    answered = jobs.run(verify).retire
    assert answered is not None
    assert [one.answer for one in answered] == [Answer.NOT_NEEDED]
    limit(Work.PRIVATE_KEY, PARTS - 1)
    answered = jobs.run(verify).retire
    assert answered is not None
    assert [one.answer for one in answered] == [Answer.UNCLEAR]
    assert "beyond the limit of 4 private-key" in " ".join(one.reason for one in answered[0].claims)


@pytest.mark.parametrize("work", [Work.READING, Work.VERIFICATION])
def test_a_limit_that_is_not_reached_changes_nothing(
    work: Work, maildir: Path, specify: Specify, limit: Limit
) -> None:
    limit(work, 10_000)
    assert counts(jobs.run(specify("scan", maildir))) == {State.READABLE: 1}


def test_a_message_of_ten_gigabytes_of_nothing_is_told_by_its_size(
    maildir: Path, specify: Specify
) -> None:
    path = maildir / "cur" / "1300000009.M9P1.host:2,S"
    path.write_bytes(b"From: a@example.org\n\n")
    os.truncate(path, 10 * 1000**3)
    summary = jobs.run(specify("scan", maildir))
    assert counts(summary) == {State.READABLE: 1, State.UNSUPPORTED: 1}
    assert "limit of 4,294,967,296 bytes in one message" in summary.not_done[0].reason


@pytest.mark.parametrize("workers", [0, 1])
def test_each_message_has_a_budget_of_its_own_and_the_factor_reaches_the_workers(
    workers: int,
) -> None:
    with budget.limits_times(7):
        answers = list(
            pool.run_tasks(
                pool_work.spend,
                [Task(number, size=100 * number) for number in (1, 2)],
                make_context=pool_work.context,
                context_argument=None,
                workers=workers,
            )
        )
    most = 7 * (budget.MESSAGE[Work.READING] + budget.READINGS * 100)
    assert [spent for _, spent in answers] == [most, most + 7 * budget.READINGS * 100]
