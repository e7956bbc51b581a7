"""What is said of a job in one line, and the command that comes next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from enum import Enum

from sectool.cli.layout import counted
from sectool.cli.render import verdict_as_json
from sectool.outcome import State
from sectool.retirement import Answer
from sectool.summary import Plaintext, StatusSummary

WHAT_TO_DO = {
    State.MISSING_KEY: "find that key (sectool scan names its certificate), then the same command"
    " with --retry",
    State.UNSUPPORTED: "read the reason; for a limit --limit-factor",
    State.MALFORMED: "look for an undamaged copy in a backup; else acknowledge it",
    State.UNDER_SIGNATURE: "--break-signatures takes it; else keep the old key",
    State.REVIEW: "look at it; --accept DIGEST takes it",
    State.NOT_READ: "scan without --quick reads it",
    State.REFUSED: "rewrap --or-reencrypt encrypts it anew",
    State.CHANGED: "look at it, and run the same command again",
    State.FAILED: "mend what the reason says, and run the same command again",
    State.LOST: "look for it; encrypt --restore-lost or --accept-lost",
    State.OLD_KEY: "decrypt on the same job takes it while the old keys are there",
    State.CHECKPOINTED: "encrypt it after the move",
}
"""For each state of a message that is not done what ``docs/states.md`` says."""

_OPENING = {
    "rewrap": "sectool rewrap {mailbox} --keys PATH --to CERT --job {job}",
    "": "sectool decrypt {mailbox} --keys PATH --job {job}",
}
"""The command that opens mail of a job, begun or gone on with, by its phase."""

_ENDS = {
    State.MISSING_KEY: " --retry",
    State.UNDER_SIGNATURE: " --retry --break-signatures",
    State.REVIEW: " --accept DIGEST",
    State.REFUSED: " --or-reencrypt",
    State.CHANGED: "",
    State.FAILED: "",
    State.OLD_KEY: "",
}
"""Last words of that command where it mends a state."""


class Level(Enum):
    """How a job stands, the best first."""

    GOOD = "nothing left to do"
    OPEN = "under way"
    BAD = "not all done"
    UNREADABLE = "cannot be read"


def replaced(summary: StatusSummary) -> int:
    """Messages that were encrypted to the new certificates, proven or not."""
    states = (State.REENCRYPTED, State.REWRAPPED, State.VERIFIED)
    return sum(summary.counts[state] for state in states)


def waiting(summary: StatusSummary) -> int:
    """Messages that open and wait to be encrypted to the new certificates."""
    states = [State.CHECKPOINTED, State.DECRYPTED]
    if summary.phase == "rewrap":
        states.append(State.READABLE)
    return sum(summary.counts[state] for state in states)


def is_running(summary: StatusSummary) -> bool:
    """Whether somebody holds the lock of the job."""
    return summary.activity is not None and summary.activity.is_on


def verdict(summary: StatusSummary) -> tuple[Level, str]:
    """How a job stands, by no more than what its log holds."""
    told = verdict_as_json(summary)
    left = list(_unfinished(summary))
    if summary.phase and not told["good"]:
        left.insert(0, told["text"])
    if summary.leaves_work:
        return Level.BAD, "; ".join(left)
    if left:
        return Level.OPEN, "; ".join(left)
    if summary.phase == "rollback":
        return Level.GOOD, f"rolled back: {counted(summary.counts[State.ROLLED_BACK], 'message')}"
    return Level.GOOD, told["text"]


def _unfinished(summary: StatusSummary) -> Iterable[str]:
    """What is under way, or waits, and is no fault of a message."""
    if not summary.phase:
        yield "nothing was done yet"
    activity = summary.activity
    if activity is not None:
        if activity.is_on:
            of = "" if activity.total is None else f" of {activity.total}"
            yield f"{activity.operation} is running ({activity.stage} {activity.done}{of})"
        elif activity.ended is None:
            yield f"{activity.operation} was stopped before its end"
        elif activity.exit_code not in {0, 3}:
            yield f"the last run, {activity.operation}, ended with exit code {activity.exit_code}"
    if summary.phase == "rollback":
        return
    unproven = replaced(summary) - summary.counts[State.VERIFIED]
    if count := waiting(summary):
        yield f"{counted(count, 'message')} not encrypted to the new key yet"
    if unproven:
        yield f"{counted(unproven, 'message')} encrypted, and not opened with the new key yet"
    if not waiting(summary) and not unproven:
        yield from _in_clear(summary.plaintext)
    wanted = sum(key.answer is not Answer.NOT_NEEDED for key in summary.retire or ())
    if wanted:
        yield f"{counted(wanted, 'old key')} needed or unclear"


def _in_clear(lying: Plaintext | None) -> Iterable[str]:
    """What lies there although nothing needs it any more."""
    if lying is not None and lying.checkpoints.count:
        yield f"{counted(lying.checkpoints.count, 'checkpoint')} still in clear"
    if lying is not None and lying.in_mailbox.count:
        yield f"{counted(lying.in_mailbox.count, 'message')} in the mailbox still in clear"


def next_step(summary: StatusSummary) -> str:
    """The command that comes next in the job, as a shell takes it; empty: there is none."""
    if is_running(summary):
        return "wait until the run has ended"
    job = shlex.quote(summary.job)
    rolling_back = summary.phase == "rollback"
    is_encrypting = summary.phase == "encrypt" or (
        summary.phase == "decrypt" and summary.is_finished
    )
    steps = (
        (rolling_back and summary.is_finished, ""),
        (rolling_back, f"sectool rollback {job}"),
        (is_encrypting and (waiting(summary) or not summary.is_finished), _encrypting(summary)),
        (waiting(summary) or not summary.is_finished, _opening(summary)),
        (
            replaced(summary) > summary.counts[State.VERIFIED],
            f"sectool verify {job} --verify-keys PATH",
        ),
        (replaced(summary) > summary.job_data_removed, f"sectool purge {job}"),
    )
    return next((step for is_due, step in steps if is_due), "")


def mending(state: State, reason: str, phase: str) -> str:
    """The command that mends messages which are not done.

    Args:
        state: of the messages.
        reason: why they are not done.
        phase: of the job.

    Returns:
        With ``{mailbox}`` and ``{job}`` in their places; empty: there is none.
    """
    opening = _OPENING.get(phase, _OPENING[""])
    if state in _ENDS:
        return f"{opening}{_ENDS[state]}"
    if state is State.UNSUPPORTED and "limit" in reason:
        return f"{opening} --retry --limit-factor 10"
    if state in {State.UNSUPPORTED, State.MALFORMED}:
        return "sectool verify {job} --acknowledge FILE"
    encrypting = "sectool encrypt --job {job} --to CERT"
    return {State.LOST: f"{encrypting} --restore-lost", State.CHECKPOINTED: encrypting}.get(
        state, ""
    )


def filled_in(command: str, mailbox: str, job: str) -> str:
    """A command of ``mending`` for one job, as a shell takes it."""
    return command.format(mailbox=shlex.quote(mailbox or "MAILBOX"), job=shlex.quote(job))


def _encrypting(summary: StatusSummary) -> str:
    """The command that encrypts the mail of the job, where its mailbox is or will be."""
    place = "MAILBOX " if summary.phase == "decrypt" else ""
    return f"sectool encrypt {place}--job {shlex.quote(summary.job)} --to CERT"


def _opening(summary: StatusSummary) -> str:
    command = _OPENING.get(summary.phase, _OPENING[""])
    return filled_in(command, summary.mailbox, summary.job)
