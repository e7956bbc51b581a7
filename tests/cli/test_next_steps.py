"""A next step can be taken: what it names, the command that it is given to has."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sectool.cli.app import app
from sectool.cli.words import advice
from sectool.cli.words.verdicts import judge
from sectool.mailbox import Account
from sectool.outcome import NOT_DONE, State
from sectool.summary import (
    DecryptSummary,
    EncryptSummary,
    LeftFolder,
    OpeningSummary,
    Purged,
    PurgeSummary,
    RewrapSummary,
    ShutKeyFile,
    StatusSummary,
    Summary,
    VerifySummary,
)

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
KINDS: dict[str, type[Summary]] = {
    "decrypt": DecryptSummary,
    "encrypt": EncryptSummary,
    "rewrap": RewrapSummary,
    "verify": VerifySummary,
    "rollback": Summary,
    "purge": PurgeSummary,
}


def options_of(command: str) -> set[str]:
    return {name for one in COMMANDS[command].params for name in one.opts if name[:2] == "--"}


def untrue(step: str, command: str) -> set[str]:
    """Options that the command before them lacks; where none is, the one that was given."""
    lacking = set()
    for part in re.split(r"(?=sectool [a-z]+)", step):
        named = re.match(r"sectool ([a-z]+)", part)
        takes = options_of(named[1] if named else command)
        lacking |= set(re.findall(r"--[a-z-]+", part)) - takes
    return lacking


def summaries(phase: str) -> Iterator[Summary]:
    """With messages in each state, alone and with others; only ``rewrap`` refuses any."""
    for first in (state for state in State if phase == "rewrap" or state is not State.REFUSED):
        for others in ((), (State.MALFORMED, State.VERIFIED), (State.FAILED, State.CHECKPOINTED)):
            for dry_run in (False, True):
                summary = KINDS[phase]("maildir:/m", "/j", phase, dry_run=dry_run)
                summary.counts = Counter([first, *others])
                summary.would_change = 1
                summary.originals = 1
                if isinstance(summary, PurgeSummary):
                    summary.purged = Purged(1, 1, 1, 1)
                yield summary


@pytest.mark.parametrize("phase", KINDS)
def test_a_next_step_names_no_option_that_its_command_lacks(phase: str) -> None:
    found = {judge(summary).next_step for summary in summaries(phase)}
    assert len(found) > 2
    assert {step: lacking for step in found if (lacking := untrue(step, phase))} == {}


@pytest.mark.parametrize("phase", KINDS)
def test_a_next_command_reaches_the_server_that_this_one_reached(phase: str) -> None:
    account = Account(authuser="master", ca_file=Path("/my own/ca.pem"), insecure=True)
    found = set()
    for summary in summaries(phase):
        summary.access = account.words
        step = judge(summary).next_step
        if step.startswith("sectool "):
            found.add(step)
            assert not untrue(step, phase)
            words = shlex.split(step, comments=True)
            assert words[-5:] == [
                *("--authuser", "master", "--ca-file", "/my own/ca.pem", "--insecure")
            ]
        else:
            assert "--authuser" not in step
    assert bool(found) is (phase in {"encrypt", "rewrap", "verify"})


@pytest.mark.parametrize("phase", KINDS)
def test_what_else_mends_a_run_names_no_such_option_either(phase: str) -> None:
    for summary in summaries(phase):
        if hasattr(summary, "left_folders"):
            summary.left_folders = [LeftFolder("INBOX", 1, 2, 3)]
            assert not untrue(judge(summary).next_step, phase)
        summary.shut_key_files = [ShutKeyFile("a.p12", "wrong passphrase", "try another")]
        assert not untrue(judge(summary).next_step, phase)
        status = StatusSummary("maildir:/m", "/j", phase)
        status.counts = summary.counts
        assert not untrue(judge(status).next_step, "status")


@pytest.mark.parametrize("phase", ["", "decrypt", "encrypt", "rewrap"])
@pytest.mark.parametrize("state", sorted(NOT_DONE - {State.REFUSED}))
def test_what_mends_a_state_is_a_command_as_it_stands(state: State, phase: str) -> None:
    for reason in ("", "a limit was reached"):
        command = advice.mending(state, reason, phase)
        assert not command or command.startswith("sectool ")
        assert not untrue(command, "status")


@pytest.mark.parametrize("phase", ["rollback", "encrypt"])
def test_what_a_command_cannot_take_is_not_given_to_it_again(phase: str) -> None:
    summary = KINDS[phase]("maildir:/m", "/j", phase, dry_run=True)
    summary.counts = Counter([State.MISSING_KEY, State.MALFORMED, State.REVIEW])
    summary.would_change = 5
    assert judge(summary).next_step == "the same command without --dry-run"


@pytest.mark.parametrize("kind", [Summary, OpeningSummary])
def test_a_scan_without_a_look_at_what_a_move_would_do_calls_nothing_safe(
    kind: type[Summary],
) -> None:
    summary = kind("maildir:/m", phase="scan")
    summary.counts = Counter([State.ENCRYPTED])
    told = judge(summary)
    assert not told.good
    assert "no verdict" in told.text
