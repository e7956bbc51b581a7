"""The one sentence that a report ends with, and whether it is good news."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sectool.cli.layout import counted, wrapped
from sectool.outcome import NOT_DONE, State
from sectool.summary import OpeningSummary, StatusSummary, Summary, VerifySummary, WorkingSummary


def as_json(summary: Summary) -> dict[str, Any]:
    """Member ``verdict`` of the document of the command contract."""
    reasons = list(_reasons(summary))
    return {"good": not reasons, "text": "; ".join(reasons) or _good(summary)}


def as_table(summary: Summary) -> Iterable[str]:
    """The same for a person; a scan says it with what it rests on."""
    if summary.phase != "scan":
        yield ""
        yield from wrapped(f"verdict   {as_json(summary)['text']}", indent=10)


def _good(summary: Summary) -> str:
    if summary.phase == "scan":
        return "safe to move now"
    return "all done" if summary.is_finished else "done as far as it was asked for"


def _reasons(summary: Summary) -> Iterable[str]:
    """Why it is not good, as ``Summary.exit_code`` has it."""
    if summary.phase == "scan":
        preflight = summary.preflight if isinstance(summary, OpeningSummary) else None
        if preflight is not None and not preflight.safe_to_move:
            yield f"not safe to move now: {preflight.reason}"
        return
    left = sum(summary.counts[state] - summary.acknowledged[state] for state in NOT_DONE)
    if left:
        yield f"{counted(left, 'message')} not done"
    if isinstance(summary, StatusSummary):
        if not summary.is_finished:
            yield f"{summary.phase} is not finished"
    elif isinstance(summary, VerifySummary):
        waiting = sum(summary.counts[state] for state in (State.CHECKPOINTED, State.DECRYPTED))
        if waiting:
            yield f"{counted(waiting, 'message')} not encrypted yet"
    needing = sum(not entry.acknowledged for entry in summary.needs_old_keys)
    if needing:
        yield f"{counted(needing, 'message')} {'needs' if needing == 1 else 'need'} old keys"
    retired = summary.retire or () if isinstance(summary, VerifySummary) else ()
    claims = [claim for key in retired for claim in key.claims]
    claiming = sum(not claim.acknowledged for claim in claims)
    if claiming:
        yield f"old keys are or may be needed in {counted(claiming, 'case')}"
    left_folders = summary.left_folders if isinstance(summary, WorkingSummary) else ()
    if left_folders:
        yield f"{counted(len(left_folders), 'folder')} left"
    if not (left or needing or claiming or left_folders) and summary.failure_code:
        yield "not all was done"
