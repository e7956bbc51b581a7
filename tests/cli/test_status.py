"""status: how long plaintext has been lying there, for one job and for many."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sectool.cli.words.render import plaintext_as_json, plaintext_as_table
from sectool.plaintext import Lying, Plaintext

Fixture = Any

NOW = datetime(2024, 6, 30, 12, 0, tzinfo=UTC)


def lying(count: int, days: int) -> Lying:
    return Lying(count, count * 100, NOW - timedelta(days=days, hours=1))


NOTHING = Plaintext(Lying(), Lying(), Lying(), NOW)


def test_the_oldest_plaintext_counts_wherever_it_lies() -> None:
    told = dataclasses.replace(NOTHING, checkpoints=lying(5, 3), in_mailbox=lying(2, 12))
    document = plaintext_as_json(told)
    assert (document["since"], document["days"]) == ("2024-06-18T11:00:00+00:00", 12)
    assert (document["checkpoints"], document["bytes"]) == (5, 500)
    assert document["in_mailbox"]["messages"] == 2


def test_sealed_checkpoints_are_no_plaintext() -> None:
    told = dataclasses.replace(NOTHING, sealed=lying(5, 30), sealed_to=("ab" * 32,))
    document = plaintext_as_json(told)
    assert (document["since"], document["days"], document["checkpoints"]) == (None, 0, 0)
    assert (document["sealed"], document["sealed_to"]) == (5, ["ab" * 32])
    lines = list(plaintext_as_table(told))
    assert lines[0].startswith("plaintext none")


def test_a_person_is_told_for_how_many_days() -> None:
    told = dataclasses.replace(NOTHING, checkpoints=lying(5, 3), in_mailbox=lying(2, 12))
    first, second = plaintext_as_table(told)
    assert first.startswith("plaintext 5 checkpoints (500 bytes) for 3 days, since 2024-06-2")
    assert second.startswith("in clear  2 messages in the mailbox (200 bytes) for 12 days, since")


def test_of_several_jobs_the_oldest_counts_and_the_rest_adds_up() -> None:
    one = dataclasses.replace(NOTHING, checkpoints=lying(5, 3), sealed_to=("ab",))
    other = dataclasses.replace(NOTHING, checkpoints=lying(1, 9), sealed=lying(2, 40))
    total = Plaintext.total([one, other, NOTHING])
    assert (total.days, total.checkpoints.count, total.sealed.count) == (9, 6, 2)
    assert total.sealed_to == ("ab",)


# --- on the command line --------------------------------------------------------------------


def test_status_and_purge_tell_what_lies_in_the_job(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    before = run("status", move.job, "--json").document["plaintext"]
    assert before["checkpoints"] == len(list((move.job / "checkpoints").glob("*.eml")))
    assert before["since"] is not None
    assert "plaintext " in run("status", move.job).out
    run("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--workers=0")
    purged = run("purge", move.job, "--accept-unproven", "--workers=0", "--json").document
    assert (
        purged["plaintext"]["checkpoints"]
        == before["checkpoints"] - purged["purged"]["checkpoints"]
    )


def test_decrypt_tells_what_now_lies_in_the_job_and_a_dry_run_does_not(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    job = tmp_path / "new"
    command = ("decrypt", move.maildir, *sample.history, "--job", job, "--workers=0", "--json")
    told = run(*command).document["plaintext"]
    assert told == run("status", job, "--json").document["plaintext"]
    assert "plaintext" not in run(*command, "--dry-run").document


def test_several_jobs_are_told_a_line_each_and_in_total(
    run: Fixture, move: Fixture, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(move.job, other)
    alone = run("status", move.job, "--json").document
    both = run("status", move.job, other, "--json")
    assert both.code == 0
    assert both.document["format"] == 2
    assert both.document["jobs"][0] == alone
    total = both.document["total"]
    assert (total["jobs"], total["messages"]) == (2, 2 * alone["messages"])
    assert total["plaintext"]["checkpoints"] == 2 * alone["plaintext"]["checkpoints"]
    lines = run("status", move.job, other).out.splitlines()
    assert any(line.startswith("total of 2") for line in lines)


def test_a_job_that_cannot_be_read_costs_its_own_line_only(
    run: Fixture, move: Fixture, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir(mode=0o700)
    (damaged / "job.db").write_bytes(b"no log")
    answer = run("status", damaged, move.job, "--json")
    assert answer.code == 13
    first, second = answer.document["jobs"]
    assert (first["job"], first["error"]["code"]) == (str(damaged), 13)
    assert second["messages"] == answer.document["total"]["messages"] == 10
    assert "sectool: error: " in answer.err
