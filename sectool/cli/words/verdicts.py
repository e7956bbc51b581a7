"""What is said of a run or of a job in one line: the one place for both.

It rests on the counts of a summary and on what the run was asked for, so that no command is
content with what another one calls unfinished.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

from sectool.cli.words import advice
from sectool.cli.words.layout import counted
from sectool.outcome import NOT_DONE, State
from sectool.plaintext import Plaintext
from sectool.progress import size_text
from sectool.retirement import Answer
from sectool.summary import (
    OpeningSummary,
    Preflight,
    PurgeSummary,
    StatusSummary,
    Summary,
    VerifySummary,
    WorkingSummary,
)
from sectool.values import dataclass


class Level(Enum):
    """How a job stands, the best first."""

    GOOD = "nothing left to do"
    OPEN = "under way"
    BAD = "not all done"
    UNREADABLE = "cannot be read"


# --- a run --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person should know first, and do next."""

    good: bool
    """Whether nothing is left to do or to look at; of a scan whether the mailbox may move."""
    text: str
    next_step: str
    """Empty: nothing comes next."""


_NO_PREFLIGHT = "quick look, no verdict: `sectool scan` without --quick gives one"


def judge(summary: Summary) -> Judgement:
    """What came of a run, or how a job stands."""
    judged = _judge(summary)
    return replace(judged, next_step=advice.reaching(judged.next_step, summary.access))


def _judge(summary: Summary) -> Judgement:
    if isinstance(summary, StatusSummary):
        level, text = verdict(summary)
        return Judgement(level is Level.GOOD, text, advice.next_step(summary))
    if summary.phase in {"scan", "quick-scan"}:
        preflight = summary.preflight if isinstance(summary, OpeningSummary) else None
        if preflight is None:
            step = f"sectool scan {shlex.quote(summary.mailbox)} --keys PATH"
            return Judgement(False, _NO_PREFLIGHT, step)
        return _judge_scan(summary, preflight)
    left = list(_left(summary))
    text = "; ".join([*_achieved(summary), *left])
    is_good = not left and not _waits(summary)
    return Judgement(is_good, text, advice.next_of_run(summary))


def _judge_scan(summary: Summary, preflight: Preflight) -> Judgement:
    if preflight.safe_to_move:
        return Judgement(True, "safe to move now", "")
    opens = preflight.unreadable_after_decrypting is not None
    would_open = preflight.unreadable_if_moved_now - (preflight.unreadable_after_decrypting or 0)
    step = ""
    if not opens and preflight.unreadable_if_moved_now:
        step = "the same command with --keys PATH: it tells which of this mail opens"
    elif summary.shut_key_files:
        step = advice.open_key_file(summary)
    elif would_open > 0:
        step = f"sectool decrypt {shlex.quote(summary.mailbox)} --keys PATH --job DIR"
    elif summary.missing_a_key:
        step = "find the missing keys, add them with --keys, and scan again"
    return Judgement(False, f"not safe to move now: {preflight.reason}", step)


def _achieved(summary: Summary) -> Iterable[str]:
    """What was done, or in a dry run would be; always something."""
    if summary.dry_run:
        yield "dry run, nothing was written"
    told = _ACHIEVED.get(summary.phase)
    if told is not None:
        yield from told(summary)


def _decrypted(summary: Summary) -> Iterable[str]:
    if summary.dry_run:
        yield f"{counted(summary.would_change, 'message')} would be decrypted"
        return
    states = (State.CHECKPOINTED, State.DECRYPTED)
    yield f"{counted(summary.any_of(*states) + advice.replaced(summary), 'message')} decrypted"
    in_mailbox = summary.counts[State.DECRYPTED]
    if in_mailbox:
        yield f"{in_mailbox} of them in clear in the mailbox now"


def _encrypted(summary: Summary) -> Iterable[str]:
    exchanges = summary.phase == "rewrap"
    if summary.dry_run:
        what = "would get the new recipients" if exchanges else "would be encrypted to the new keys"
        yield f"{counted(summary.would_change, 'message')} {what}"
        return
    what = "encrypted to the new keys"
    yield f"{counted(advice.replaced(summary), 'message')} {what}"
    yield from _proven(summary)
    yield from _lying(summary)


def _proven(summary: Summary) -> Iterable[str]:
    count, proven = advice.replaced(summary), summary.counts[State.VERIFIED]
    if count and not proven:
        yield "none opened with the new key yet"
    elif count > proven:
        yield f"{count - proven} of them not opened with the new key yet"
    elif count:
        yield "each opened with the new key"


def _lying(summary: Summary) -> Iterable[str]:
    """What the job holds that ``purge`` removes."""
    lying = summary.plaintext
    things = []
    if lying is not None and lying.checkpoints.count:
        size = size_text(lying.checkpoints.bytes)
        things.append(f"{counted(lying.checkpoints.count, 'checkpoint')} in clear ({size})")
    if summary.originals:
        things.append(counted(summary.originals, "original"))
    if things:
        yield f"the job still holds {' and '.join(things)}"


def _found_again(summary: Summary) -> Iterable[str]:
    """What ``verify`` saw, in figures."""
    assert isinstance(summary, VerifySummary)
    count, proven = advice.replaced(summary), summary.counts[State.VERIFIED]
    of_job = count + advice.waiting(summary)
    if not summary.has_begun and not summary.opens:
        here = f"all {of_job}" if not summary.counts[State.LOST] else f"{of_job}"
        yield f"{here} decrypted messages are here, none is encrypted yet"
        return
    yield f"{proven} of {of_job} proven with the new key"
    if advice.waiting(summary):
        yield f"{advice.waiting(summary)} not yet encrypted"
    if not summary.opens:
        yield "this run opened nothing, so it is no proof: --verify-keys is"


def _rolled_back(summary: Summary) -> Iterable[str]:
    if summary.dry_run:
        yield f"{counted(summary.would_change, 'message')} would be put back"
        return
    back = summary.counts[State.ROLLED_BACK]
    if back or not summary.counts[State.DECRYPTED]:
        yield f"{counted(back, 'original')} put back"
    if summary.counts[State.DECRYPTED]:
        yield f"{counted(summary.counts[State.DECRYPTED], 'message')} in clear in the mailbox"


def _purged(summary: Summary) -> Iterable[str]:
    assert isinstance(summary, PurgeSummary)
    purged = summary.purged
    went, stay = ("would be removed", "would stay") if summary.dry_run else ("removed", "kept")
    checkpoints = counted(purged.checkpoints, "checkpoint")
    yield f"{checkpoints} and {counted(purged.originals, 'original')} {went}"
    if purged.kept:
        young = f", {purged.too_young} of them only for --older-than" if purged.too_young else ""
        yield f"{purged.kept} {stay}{young}"


_ACHIEVED = {
    "decrypt": _decrypted,
    "encrypt": _encrypted,
    "rewrap": _encrypted,
    "verify": _found_again,
    "rollback": _rolled_back,
    "purge": _purged,
}


def _left(summary: Summary) -> Iterable[str]:
    """Why a run is not good, as ``Summary.exit_code`` has it and beyond."""
    lost = summary.counts[State.LOST] - summary.acknowledged[State.LOST]
    yield from _missed(lost, summary.lost_in_clear)
    others = summary.left - lost
    if others:
        yield f"{counted(others, 'message')} not done"
    yield from _unreached(summary)
    needing = sum(
        not entry.acknowledged and entry.state not in NOT_DONE for entry in summary.needs_old_keys
    )
    if needing:
        yield f"{counted(needing, 'message')} done, and in need of old keys"
    retired = summary.retire or () if isinstance(summary, VerifySummary) else ()
    claiming = sum(not claim.acknowledged for key in retired for claim in key.claims)
    if claiming:
        yield f"old keys are or may be needed in {counted(claiming, 'case')}"
    explained = summary.leaves_work or any(_unreached(summary)) or _waits(summary)
    if summary.failure_code and not explained:
        yield "not all was done"


def _waits(summary: Summary) -> bool:
    """Whether ``verify`` told of mail that waits, which is no fault of it."""
    return isinstance(summary, VerifySummary) and advice.waiting(summary) > 0


def _missed(lost: int, in_clear: int) -> Iterable[str]:
    if lost > in_clear:
        yield f"{counted(lost - in_clear, 'message')} lost: of the job, and not in the mailbox"
    if in_clear:
        yield (
            f"{counted(in_clear, 'message')} that never {'was' if in_clear == 1 else 'were'}"
            f" encrypted {'is' if in_clear == 1 else 'are'} not here; sectool has no copy of"
            f" {'it' if in_clear == 1 else 'them'}"
        )


def _unreached(summary: Summary) -> Iterable[str]:
    """What nobody came to, or passed over."""
    left_folders = summary.left_folders if isinstance(summary, WorkingSummary) else ()
    if left_folders:
        yield f"{counted(len(left_folders), 'folder')} left, where too much failed"
    if left_out := summary.counts[State.NOT_SELECTED]:
        yield f"{counted(left_out, 'message')} left out, as asked"
    ran = not (summary.dry_run or isinstance(summary, StatusSummary))
    if ran and summary.phase in {"encrypt", "rewrap"} and advice.waiting(summary):
        yield f"{counted(advice.waiting(summary), 'message')} not encrypted to the new keys yet"
    if summary.passed_over:
        yield f"{counted(summary.passed_over, 'place')} passed over that may hold mail"


# --- a job --------------------------------------------------------------------------------


def verdict(summary: StatusSummary) -> tuple[Level, str]:
    """How a job stands, by no more than what its log holds."""
    left = list(_unfinished(summary))
    if summary.phase and not summary.is_finished:
        left.insert(0, f"{summary.phase} is not finished")
    if summary.phase:
        left[:0] = _left(summary)
    if summary.leaves_work:
        return Level.BAD, "; ".join(left)
    if left:
        return Level.OPEN, "; ".join(left)
    if summary.phase == "rollback":
        return Level.GOOD, f"rolled back: {counted(summary.counts[State.ROLLED_BACK], 'message')}"
    return Level.GOOD, "all done"


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
    unproven = advice.replaced(summary) - summary.counts[State.VERIFIED]
    if count := advice.waiting(summary):
        yield f"{counted(count, 'message')} not encrypted to the new key yet"
    if unproven:
        yield f"{counted(unproven, 'message')} encrypted, and not opened with the new key yet"
    if not advice.waiting(summary) and not unproven:
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
