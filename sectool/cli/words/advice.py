"""What comes next after a run or in a job, and what mends messages that are not done."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence

from sectool.cli.words.layout import counted
from sectool.outcome import NOT_DONE, State
from sectool.summary import (
    EncryptSummary,
    PurgeSummary,
    StatusSummary,
    Summary,
    VerifySummary,
    WorkingSummary,
)

WHAT_TO_DO = {
    State.MISSING_KEY: "find that key (sectool scan names its certificate); with it, --retry of"
    " decrypt or rewrap takes the message",
    State.UNSUPPORTED: "for a limit --limit-factor; else keep what opens it, and acknowledge it",
    State.MALFORMED: "look for an undamaged copy in a backup; else acknowledge it",
    State.UNDER_SIGNATURE: "--break-signatures of decrypt or rewrap takes it; else keep the old"
    " key",
    State.REVIEW: "look at it; --accept DIGEST of decrypt or rewrap takes it",
    State.NOT_READ: "scan without --quick reads it",
    State.REFUSED: "rewrap --or-reencrypt encrypts it anew",
    State.CHANGED: "look at it, and run the same command again",
    State.FAILED: "mend what the reason says, and run the same command again",
    State.LOST: "look for it; encrypt --restore-lost or --accept-lost",
    State.OLD_KEY: "decrypt on the same job takes it while the old keys are there",
    State.CHECKPOINTED: "encrypt it after the move",
}
"""For each state of a message that is not done what ``docs/states.md`` says."""

KEEP = "keep the old key, or do without this part of the message and acknowledge it"
"""The same for a message that is done, while a layer or part of it needs an old key."""

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


def replaced(summary: Summary) -> int:
    """Messages that were encrypted to the new certificates, proven or not."""
    return summary.any_of(State.REENCRYPTED, State.REWRAPPED, State.VERIFIED)


def waiting(summary: Summary) -> int:
    """Messages that open and wait to be encrypted to the new certificates."""
    readable = summary.counts[State.READABLE]
    return summary.any_of(State.CHECKPOINTED, State.DECRYPTED) + (
        readable if exchanges(summary) else 0
    )


def exchanges(summary: Summary) -> bool:
    """Whether the job is one of ``rewrap``, as far as its summary tells."""
    return summary.phase == "rewrap" or (
        isinstance(summary, VerifySummary) and summary.counts[State.REWRAPPED] > 0
    )


# --- what comes next after a run --------------------------------------------------------------


AGAIN = {
    State.MISSING_KEY: "find the missing keys, add them with --keys, and give the same command"
    " again with --retry",
    State.FAILED: "mend what the reasons say, then the same command again",
    State.CHANGED: "look at what was changed, then the same command again",
    State.REFUSED: "the same command with --or-reencrypt encrypts anew what is refused",
    State.REVIEW: "look at the messages under review; the same command with --accept DIGEST takes"
    " one",
    State.UNDER_SIGNATURE: "the same command with --retry --break-signatures takes what lies under"
    " a signature",
}
"""What mends messages in a state, where all that are not done are in that one."""

_SOMETHING_HAPPENED = frozenset({State.CHANGED, State.FAILED})

_TAKES_AGAIN = {
    **dict.fromkeys(("decrypt", "rewrap"), NOT_DONE),
    **dict.fromkeys(("encrypt", "rollback"), _SOMETHING_HAPPENED),
}
"""States of messages that the same command may take when it is given again, by its name."""

_EACH = (
    "do what stands with each reason above, then the same command again; what nobody can do goes"
    " into a file for --acknowledge"
)


def next_of_run(summary: Summary) -> str:
    """What comes next; the move only where nothing is left that could be done."""
    step = next(_mending_steps(summary), "")
    if step:
        return step
    if summary.dry_run:
        return "the same command without --dry-run" if _would_do(summary) else ""
    going_on = _GOING_ON.get(summary.phase)
    return "" if going_on is None else going_on(summary)


def _would_do(summary: Summary) -> bool:
    if isinstance(summary, PurgeSummary):
        return bool(summary.purged.checkpoints or summary.purged.originals)
    return bool(summary.would_change)


def _mending_steps(summary: Summary) -> Iterator[str]:
    """What has to be done before the job goes on, the first thing first."""
    works = isinstance(summary, WorkingSummary)
    if summary.shut_key_files:
        yield open_key_file(summary)
    if isinstance(summary, WorkingSummary) and summary.left_folders:
        yield (
            "mend what failed in the folders that were left, then the same command again; a higher"
            " --max-failures goes on with them all the same"
        )
    if works and (left_out := _left_out(summary)):
        yield (
            "the same command without --limit, --folder, --since and --before, for the"
            f" {counted(left_out, 'message')} left out"
        )
    if summary.counts[State.LOST] > summary.acknowledged[State.LOST]:
        yield _bring_back(summary)
    yield from _not_done_steps(summary)
    if works and summary.passed_over:
        yield (
            "look at what was passed over, which the warning names; give the same command for what"
            " holds mail"
        )


def _left_out(summary: Summary) -> int:
    if summary.phase == "decrypt":
        return summary.counts[State.NOT_SELECTED]
    return 0 if summary.dry_run else waiting(summary) + summary.counts[State.NOT_SELECTED]


def _not_done_steps(summary: Summary) -> Iterator[str]:
    taken = _TAKES_AGAIN.get(summary.phase, frozenset())
    states = [state for state in taken if summary.counts[state] > summary.acknowledged[state]]
    if len(states) == 1:
        yield AGAIN.get(states[0], _EACH)
    elif states:
        yield _EACH if taken is NOT_DONE else AGAIN[State.FAILED]


def open_key_file(summary: Summary) -> str:
    """What opens the first of the key files that stayed shut."""
    shut = summary.shut_key_files[0]
    return f"open {shut.file}: {shut.hint or shut.reason}; then the same command again"


def _bring_back(summary: Summary) -> str:
    """What there is to do about messages that are lost."""
    encrypt = f"sectool encrypt --job {shlex.quote(summary.job)} --to CERT"
    if isinstance(summary, EncryptSummary):
        encrypt = "the same command"
    back = f"{encrypt} --restore-lost puts back what the job has"
    if exchanges(summary):
        return "look for what is lost, in the trash or a backup: the job has no plaintext of it"
    if summary.counts[State.LOST] == summary.lost_in_clear:
        return f"look for it at the old place; {encrypt} --accept-lost where its owner deleted it"
    return f"look for what is lost; {back}, --accept-lost lets go what its owner deleted"


def _after_decrypting(summary: Summary) -> str:
    if not summary.any_of(State.CHECKPOINTED, State.DECRYPTED):
        return ""
    sealed = summary.plaintext is not None and summary.plaintext.sealed.count
    command = f"sectool encrypt NEWPLACE --job {shlex.quote(summary.job)} --to new.pem"
    return f"move the mailbox, then: {command}{' --seal-keys KEYS' if sealed else ''}"


def _after_encrypting(summary: Summary) -> str:
    job = shlex.quote(summary.job)
    if replaced(summary) > summary.counts[State.VERIFIED]:
        return f"sectool verify {job} --verify-keys PATH  # opens each with the new key"
    if summary.originals or (summary.plaintext and summary.plaintext.checkpoints.count):
        return f"sectool purge {job}  # removes plaintext and originals, and ends the undo"
    return ""


def _after_verifying(summary: Summary) -> str:
    assert isinstance(summary, VerifySummary)
    job = shlex.quote(summary.job)
    if waiting(summary) and exchanges(summary):
        return filled_in(_OPENING["rewrap"], summary.mailbox, summary.job)
    if waiting(summary):
        place = "" if summary.has_begun else "MAILBOX "
        return f"sectool encrypt {place}--job {job} --to CERT"
    return _after_encrypting(summary)


def _after_purging(summary: Summary) -> str:
    unproven = replaced(summary) > summary.counts[State.VERIFIED]
    if isinstance(summary, PurgeSummary) and summary.purged.kept and unproven:
        return "the same command with --verify-keys PATH removes what the new key opens"
    if summary.left:
        job = shlex.quote(summary.job)
        return (
            "do what stands with each reason above; what nobody can do goes into a file for"
            f" sectool verify {job} --acknowledge FILE"
        )
    return ""


_GOING_ON: dict[str, Callable[[Summary], str]] = {
    "decrypt": _after_decrypting,
    "encrypt": _after_encrypting,
    "rewrap": _after_encrypting,
    "verify": _after_verifying,
    "purge": _after_purging,
}


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


def reaching(step: str, access: Sequence[str]) -> str:
    """A next step with the options by which this run reached the server of its mailbox."""
    if not access or not step.startswith("sectool "):
        return step
    command, mark, note = step.partition("  # ")
    return f"{command} {shlex.join(access)}{mark}{note}"


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


def is_running(summary: StatusSummary) -> bool:
    """Whether somebody holds the lock of the job."""
    return summary.activity is not None and summary.activity.is_on
