"""status.json beside a job: what a run is doing, and how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from sectool import jobs
from sectool.cli.stopping import Stopped
from sectool.cli.words.render import as_json
from sectool.errors import Terminated
from sectool.progress import NoProgress
from sectool.summary import Activity
from tests.support.copies import copy_as_moved
from tests.support.documents import parsed

Fixture = Any


def told(job: Path) -> dict[str, Any]:
    return parsed((job / "status.json").read_text(encoding="ascii"))


def encrypt(sample: Fixture, move: Fixture) -> jobs.Encrypt:
    return jobs.Encrypt(
        mailbox=str(move.maildir), job=move.job, new_certificates=(sample.new,), workers=0
    )


def test_after_a_run_it_has_what_status_prints_and_says_how_the_run_ended(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    answer = run("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--json")
    document = told(move.job)
    activity = document["activity"]
    assert (activity["operation"], activity["exit_code"]) == ("encrypt", answer.code)
    assert activity["ended"]
    assert not activity["is_on"]
    assert document == run("status", move.job, "--json").document
    assert (move.job / "status.json").stat().st_mode & 0o777 == 0o600


def test_it_has_the_warnings_of_its_own_run_alone(
    run: Fixture, move: Fixture, tmp_path: Path
) -> None:
    mailbox, job = tmp_path / "Other", tmp_path / "other"
    shutil.copytree(move.maildir, mailbox)
    copy_as_moved(move.job, job)
    (move.maildir / "cur" / "1300000009.M9P1.host:2,S").symlink_to("elsewhere")
    for moved, of in ((move.maildir, move.job), (mailbox, job)):
        run("verify", of, moved)
    run("verify", move.job, job)
    (warning,) = told(move.job)["warnings"]
    assert "passed over" in warning["message"]
    assert told(job)["warnings"] == []


class Looking(NoProgress):
    """Asks for the status while a run is on, at the end of each stage."""

    def __init__(self, job: Path) -> None:
        self._job = job
        self.seen: list[tuple[dict[str, Any], Activity | None]] = []

    def begin(self, stage: str, total: int | None) -> None:
        self.seen.append((told(self._job), jobs.status(self._job).activity))


def test_while_a_run_is_on_it_says_where_the_run_is_and_status_takes_no_lock(
    sample: Fixture, move: Fixture
) -> None:
    looking = Looking(move.job)
    jobs.run(encrypt(sample, move), looking, document=as_json)
    document, activity = looking.seen[-1]
    assert activity is not None
    assert activity.is_on
    assert (activity.operation, activity.pid) == ("encrypt", os.getpid())
    assert (activity.stage, activity.done) == ("match", 10)
    assert document["activity"]["ended"] is None
    assert sum(document["counts"].values()) == document["messages"] == 10


def test_it_is_written_now_and_then_and_not_for_each_message(
    run_in_fork: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = ("decrypt", move.maildir, *sample.history, "--job", tmp_path / "new", "--workers=0")
    run_in_fork(*command, fault=f"trace@{trace}")
    writings = trace.read_text(encoding="ascii").split().count("status.rename.after")
    assert 1 < writings < 6


def test_after_a_run_was_killed_status_says_so(
    run: Fixture, run_in_fork: Fixture, sample: Fixture, move: Fixture
) -> None:
    command = ("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--workers=0")
    assert run_in_fork(*command, fault="crash@joblog.commit.after:6").code == -9
    answer = run("status", move.job)
    assert "stopped   encrypt" in answer.out
    assert "the same command goes on" in answer.out
    activity = run("status", move.job, "--json").document["activity"]
    assert (activity["ended"], activity["is_on"]) == (None, False)
    assert run(*command).code == 3
    assert "ended" in run("status", move.job).out


class Stopping:
    """A ``Cancel`` that somebody pressed."""

    def check(self) -> None:
        raise Terminated("terminated")


def test_a_run_that_was_stopped_says_with_which_code(sample: Fixture, move: Fixture) -> None:
    with pytest.raises(Terminated):
        jobs.run(encrypt(sample, move), cancel=Stopping(), document=as_json)
    assert told(move.job)["activity"]["exit_code"] == 143


class StoppingAtOnce:
    """A ``Cancel`` under which a second signal arrives."""

    def __init__(self, number: int) -> None:
        self._number = number

    def check(self) -> None:
        raise Stopped(self._number)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_run_that_was_stopped_at_once_says_with_which_code(
    number: int, code: int, sample: Fixture, move: Fixture
) -> None:
    with pytest.raises(Stopped):
        jobs.run(encrypt(sample, move), cancel=StoppingAtOnce(number), document=as_json)
    assert told(move.job)["activity"]["exit_code"] == code


def test_a_run_whose_status_cannot_be_written_goes_on(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    in_the_way = move.job / f".status.json.{os.getpid()}.new"
    (in_the_way / "not empty").mkdir(parents=True)
    before = (move.job / "status.json").read_bytes()
    command = ("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--workers=0")
    assert run(*command).code == 3
    assert (move.job / "status.json").read_bytes() == before
    assert run("status", move.job, "--json").document["counts"]["reencrypted"] == 6


def test_what_a_killed_writing_left_is_swept(run: Fixture, sample: Fixture, move: Fixture) -> None:
    (move.job / ".status.json.4711.new").write_text("{")
    run("verify", move.job, "--workers=0")
    assert not list(move.job.glob(".status.json*"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"activity": {"pid": []}}', "[" * 100_000])
def test_a_file_that_no_run_wrote_is_not_believed(run: Fixture, move: Fixture, text: str) -> None:
    (move.job / "status.json").write_text(text)
    answer = run("status", move.job, "--json")
    assert answer.code == 0
    assert "activity" not in answer.document


def test_a_dry_run_writes_none(run: Fixture, sample: Fixture, move: Fixture) -> None:
    (move.job / "status.json").unlink()
    run("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--dry-run")
    assert not (move.job / "status.json").exists()


def test_it_tells_no_subject_and_no_address(run: Fixture, sample: Fixture, move: Fixture) -> None:
    run("encrypt", move.maildir, "--job", move.job, "--to", sample.new, "--workers=0")
    document = told(move.job)
    text = json.dumps([{**entry, "message_id": ""} for entry in document.pop("not_done")])
    assert "@" not in json.dumps(document) + text
    assert "Subject" not in json.dumps(document)
