"""What a person knows cannot be done fails no run any more, and is shown all the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.jobs.session.acknowledge import read_acknowledgements
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.progress import NoProgress
from sectool.summary import NotDone, Summary
from tests.support.mailboxes import Keys
from tests.support.specifications import Specify


class Listening(NoProgress):
    """Remembers the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.warnings.append(f"{text}; {hint}")


def listed(path: Path, entries: Iterable[NotDone], *, states: bool = False) -> Path:
    """A file that acknowledges these messages, with remarks."""
    lines = [
        f"{entry.identity} {entry.state if states else ''}  # {entry.ref}" for entry in entries
    ]
    path.write_text("\n".join(["# known to the help desk", "", *lines]))
    return path


def shown(summary: Summary) -> list[tuple[State, bool]]:
    return [(entry.state, entry.acknowledged) for entry in summary.not_done]


@pytest.fixture
def known(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    """A file made from the report of a scan."""
    return listed(tmp_path / "known.txt", jobs.run(specify("scan", maildir)).not_done)


def test_acknowledged_messages_are_counted_and_shown_and_the_run_ends_with_0(
    maildir: Path, specify: Specify, known: Path
) -> None:
    before = jobs.run(specify("decrypt", maildir))
    assert before.exit_code == 3
    summary = jobs.run(specify("decrypt", maildir, acknowledge=known))
    assert summary.exit_code == 0
    assert summary.counts == before.counts
    assert {acknowledged for _, acknowledged in shown(summary)} == {True}


def test_later_commands_of_the_job_honour_it_wherever_the_mailbox_is(
    maildir: Path, specify: Specify, known: Path, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir, acknowledge=known))
    known.unlink()
    moved = maildir.rename(tmp_path / "elsewhere")
    for path in list(moved.rglob("cur/*")):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert jobs.run(specify("encrypt", moved)).exit_code == 0
    assert jobs.run(specify("verify", None)).exit_code == 0
    assert len(jobs.status(tmp_path / "job").not_done) == 2
    assert all(entry.acknowledged for entry in jobs.status(tmp_path / "job").not_done)


def test_a_message_that_nobody_acknowledged_still_ends_with_3(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    one, _ = jobs.run(specify("scan", maildir)).not_done
    known = listed(tmp_path / "known.txt", [one])
    summary = jobs.run(specify("decrypt", maildir, acknowledge=known))
    assert summary.exit_code == 3
    assert sum(summary.acknowledged.values()) == 1


def test_an_acknowledged_message_that_is_lost_later_is_reported(
    maildir: Path, specify: Specify, known: Path
) -> None:
    jobs.run(specify("decrypt", maildir, acknowledge=known))
    next(maildir.rglob("cur/1300000007.*")).unlink()
    summary = jobs.run(specify("encrypt", maildir, acknowledge=known))
    assert (State.LOST, False) in shown(summary)
    assert summary.exit_code == 3


def test_what_somebody_did_is_acknowledged_only_where_the_file_says_so(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    next(maildir.rglob("cur/1300000001.*")).unlink()
    entries = jobs.run(specify("encrypt", maildir)).not_done
    known = listed(tmp_path / "known.txt", entries, states=True)
    assert jobs.run(specify("verify", None, acknowledge=known)).exit_code == 0


def test_a_message_acknowledged_in_one_state_is_reported_in_another(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    (missing,) = (
        entry
        for entry in jobs.run(specify("scan", maildir)).not_done
        if entry.state is State.MISSING_KEY
    )
    known = tmp_path / "known.txt"
    known.write_text(f"{missing.identity} malformed\n")
    summary = jobs.run(specify("decrypt", maildir, acknowledge=known))
    assert (State.MISSING_KEY, False) in shown(summary)


def test_every_copy_of_a_message_is_acknowledged(
    maildir: Path, specify: Specify, known: Path
) -> None:
    copy = next(maildir.rglob("cur/1300000007.*"))
    shutil.copy(copy, maildir / "cur" / "1300000099.M99P1.host:2,")
    assert jobs.run(specify("decrypt", maildir, acknowledge=known)).exit_code == 0


def test_a_line_that_meets_no_message_is_told_and_harmless(
    maildir: Path, specify: Specify, known: Path
) -> None:
    known.write_text(known.read_text() + f"\n{'ab' * 32}\n")
    listening = Listening()
    summary = jobs.run(specify("decrypt", maildir, acknowledge=known), listening)
    assert summary.exit_code == 0
    (warning,) = listening.warnings
    assert warning.startswith("1 of 3 acknowledged messages")


def test_a_dry_run_acknowledges_and_writes_nothing(
    maildir: Path, specify: Specify, known: Path, tmp_path: Path
) -> None:
    assert jobs.run(specify("decrypt", maildir, acknowledge=known, dry_run=True)).exit_code == 0
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<7@example.org>", "line 1 of .* is no identity"),
        (f"# fine\n{'ab' * 32} readable", "line 2 of .* names no state"),
        (f"{'ab' * 32} missing-key malformed", "line 1 of .* names no state"),
    ],
    ids=["a Message-ID", "a state that is done", "two states"],
)
def test_a_line_that_cannot_be_meant_is_refused_before_anything_is_made(
    maildir: Path, specify: Specify, tmp_path: Path, text: str, told: str
) -> None:
    known = tmp_path / "known.txt"
    known.write_text(text)
    with pytest.raises(UsageError, match=told):
        jobs.run(specify("decrypt", maildir, acknowledge=known))
    assert not (tmp_path / "job").exists()


def test_a_file_that_is_not_there_is_refused(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        jobs.run(specify("decrypt", maildir, acknowledge=tmp_path / "nowhere"))


def test_an_acknowledged_message_is_done_when_its_key_is_found(
    maildir: Path, specify: Specify, known: Path, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir, acknowledge=known))
    stranger = (keys.stranger.certificate, keys.stranger.private_key)
    both = KeySpecification((keys.history, *stranger))
    summary = jobs.run(specify("decrypt", maildir, keys=both))
    assert shown(summary) == [(State.MALFORMED, True)]


@pytest.mark.rights
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a pipe to another user")
def test_a_list_that_never_comes_or_never_ends_is_refused(tmp_path: Path) -> None:
    pipe, endless = tmp_path / "pipe", tmp_path / "endless"
    os.mkfifo(pipe)
    os.chown(pipe, 65534, 65534)
    with pytest.raises(UsageError, match="a pipe of somebody else's"):
        read_acknowledgements(pipe)
    endless.touch()
    os.truncate(endless, 1 << 40)
    with pytest.raises(UsageError, match="is larger than"):
        read_acknowledgements(endless)
