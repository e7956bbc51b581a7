"""The verdict before a move, for a program and for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sectool.cli.layout import counted, key_name, size_text, wrapped
from sectool.summary import Preflight, Scenario

_SCENARIOS = {
    Scenario.UPGRADE: "upgrade: every old key is at the new place",
    Scenario.RE_ENROLMENT: "re-enrolment: old keys are missing at the new place",
    Scenario.CLEAN_INSTALLATION: "clean-installation: no old key, an authority made anew",
    Scenario.NEW_SITE: "new-site: no old key, another authority",
}


def as_json(verdict: Preflight) -> dict[str, Any]:
    """Member ``preflight`` of the document of the command contract."""
    return {
        "safe_to_move": verdict.safe_to_move,
        "reason": verdict.reason,
        "unreadable_if_moved_now": verdict.unreadable_if_moved_now,
        "unreadable_after_decrypting": verdict.unreadable_after_decrypting,
        "missing_keys": [
            {
                **asdict(key),
                "messages": count,
            }
            for key, count in verdict.missing_keys.items()
        ],
        "scenario": verdict.scenario and verdict.scenario.value,
        "space_needed": verdict.space_needed,
        "space_free": verdict.space_free,
        "seconds": verdict.seconds,
    }


def as_table(verdict: Preflight) -> Iterable[str]:
    """The same for a person, a line at a time."""
    why = f" ({verdict.reason})" if verdict.reason else ""
    yield from wrapped(
        f"safe to move now: {'yes' if verdict.safe_to_move else 'no'}{why}", indent=2
    )
    yield f"  unreadable if moved now: {counted(verdict.unreadable_if_moved_now, 'message')}"
    if verdict.unreadable_after_decrypting is not None:
        yield f"  unreadable also when decrypted first: {verdict.unreadable_after_decrypting}"
    if verdict.scenario is not None:
        yield f"  kind of move: {_SCENARIOS[verdict.scenario]}"
    free = "" if verdict.space_free is None else f", {size_text(verdict.space_free)} free there"
    yield f"  space for a move: about {size_text(verdict.space_needed)}{free}"
    if verdict.space_free is not None and verdict.space_free < verdict.space_needed:
        yield "  that is not enough: free some, or move in portions with --folder or --limit"
    if verdict.seconds is not None:
        seconds = counted(round(verdict.seconds), "second")
        yield f"  time for each half of the move: about {seconds}"
    for key, count in verdict.missing_keys.items():
        yield from wrapped(f"  missing key: {key_name(key)}, {counted(count, 'message')}", indent=4)
