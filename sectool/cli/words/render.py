"""Summaries as JSON for a program and as tables for a person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NoReturn

import typer

from sectool.cli.options import Manners
from sectool.cli.shell import answer, envelope, error_body, report, say_in_lines, tell
from sectool.cli.words import outcomes, parts
from sectool.cli.words.advice import KEEP, WHAT_TO_DO
from sectool.cli.words.layout import (
    counted,
    key_name,
    most_first,
    table,
    wrapped,
)
from sectool.cli.words.verdicts import Judgement, judge
from sectool.errors import CheckpointDamaged, MessageError, PassphraseError, SectoolError
from sectool.outcome import NOT_DONE, State
from sectool.plaintext import Lying, Plaintext
from sectool.progress import size_text
from sectool.summary import (
    Activity,
    NeedsOldKeys,
    NotDone,
    OpeningSummary,
    Preflight,
    Scenario,
    StatusSummary,
    Summary,
    TimeRange,
)

SHOWN = 20
"""Reasons are listed up to this number; JSON lists every message."""

SHOWN_OF_EACH = 5
"""Messages that one reason is given for are listed up to this number."""


def show(
    summary: Summary,
    manners: Manners,
    *,
    looks_only: bool = False,
    fails: bool = False,
) -> NoReturn:
    """Prints a summary and ends the command with its exit code.

    Args:
        summary: what to print.
        manners: how.
        looks_only: the command had nothing to do but to look, so what it saw
            is no failure: exit code 0.
        fails: a judgement was asked for, and it is no: exit code 3, or 12 where a
            key file stayed shut that may change it.
    """
    code = 0 if looks_only else summary.exit_code
    if fails:
        code = summary.failure_code or MessageError.exit_code
    failure = _failure(code, summary)
    if manners.json:
        document = as_json(summary, code)
        if failure is not None:
            document["error"] = error_body(failure)
        answer(document)
    elif not manners.quiet:
        report(as_table(summary))
    elif code:
        say_in_lines(f"sectool: verdict: {judge(summary).text}")
    if failure is not None:
        tell(failure)
    raise typer.Exit(code)


def _failure(code: int, summary: Summary) -> SectoolError | None:
    """What calls for more than a look at the messages, said also with ``--quiet``."""
    if code == CheckpointDamaged.exit_code:
        return CheckpointDamaged(
            "a checkpoint or original is missing or damaged; its message stays as it is",
            hint="`sectool status` names the messages; restore the job directory from a backup,"
            " or decrypt again with the old keys",
        )
    if code == PassphraseError.exit_code and summary.shut_key_files:
        shut = summary.shut_key_files[0]
        return PassphraseError(
            f"{shut.file} stays shut, and may hold a key that is needed: {shut.reason}",
            hint=shut.hint,
        )
    return None


def as_json(
    summary: Summary, exit_code: int = 0, warnings: Sequence[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The document of the command contract.

    Args:
        summary: what came of a run, or stands in a job.
        exit_code: what the command ends with; 0: it only looked.
        warnings: None: all there were.
    """
    document = envelope(exit_code, warnings)
    document["mailbox"] = summary.mailbox
    document["job"] = summary.job or None
    document["phase"] = "" if summary.dry_run else summary.phase
    document["finished"] = summary.is_finished and not summary.dry_run
    document["dry_run"] = summary.phase if summary.dry_run else None
    document["messages"] = summary.messages
    document["bytes"] = summary.bytes
    document["counts"] = {
        state.value: summary.counts[state] for state in State if summary.counts[state]
    }
    document["keys"] = [
        {
            **asdict(key),
            "in_history": key in summary.keys_in_history,
            "messages": count,
        }
        for key, count in most_first(summary.keys)
    ]
    document["content_encryption_algorithms"] = dict(summary.content_encryption_algorithms)
    document["integrity"] = _integrity(summary)
    document["signers"] = [
        {"fingerprint": signer, "integrity": mark.value, "parts": count}
        for (mark, signer), count in sorted(summary.integrity.items())
        if signer
    ]
    document["defects"] = dict(summary.defects.most_common())
    document["uninspected"] = summary.uninspected
    document["folders"] = dict(summary.folders)
    document["years"] = dict(sorted(summary.years.items()))
    document["lost_in_clear"] = summary.lost_in_clear
    document["passed_over"] = summary.passed_over
    document.update(_not_done_as_json(summary))
    if summary.dry_run:
        document["would_change"] = summary.would_change
    if summary.space is not None:
        document["space"] = summary.space
    if isinstance(summary, OpeningSummary) and summary.preflight is not None:
        document["preflight"] = _preflight_as_json(summary.preflight)
    if summary.plaintext is not None:
        document["plaintext"] = plaintext_as_json(summary.plaintext)
    if summary.originals is not None:
        document["originals"] = summary.originals
    if isinstance(summary, StatusSummary) and summary.activity is not None:
        document["activity"] = _activity_as_json(summary.activity)
    document.update(parts.as_json(summary))
    document.update(outcomes.as_json(summary))
    document["verdict"] = verdict_as_json(summary)
    document["next"] = judge(summary).next_step or None
    return document


def _not_done_as_json(summary: Summary) -> dict[str, Any]:
    return {
        "not_done": [asdict(entry) for entry in summary.not_done],
        "not_done_beyond": summary.not_done_beyond,
    }


def _integrity(summary: Summary) -> dict[str, int]:
    marks: Counter[str] = Counter()
    for (mark, _), count in summary.integrity.items():
        marks[mark.value] += count
    return dict(marks.most_common())


def as_table(summary: Summary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    yield from _head(summary)
    yield ""
    # Only this one rehearses what becomes of each message; the others leave their states alone.
    would_be = summary.dry_run and summary.phase == "decrypt"
    yield from table(
        ("would be" if would_be else "state", "messages", ""),
        [
            (state.value, str(summary.counts[state]), _left(summary, state))
            for state in State
            if summary.counts[state]
        ],
    )
    was = "" if summary.phase in {"scan", "quick-scan", "decrypt"} else "was "
    yield from _section(
        (f"{was}encrypted to", "messages", "key"),
        [
            (key_name(key), str(count), "held" if key in summary.keys_in_history else "-")
            for key, count in most_first(summary.keys)
        ],
    )
    algorithms = summary.content_encryption_algorithms
    yield from _section((f"{was}encrypted with", "parts"), _counted(algorithms.most_common()))
    marks = _counted(_integrity(summary).items())
    yield from _section(("integrity of what opens", "parts"), marks)
    defects = _counted(summary.defects.most_common())
    yield from _section(("odd, and read all the same", "messages"), defects)
    if summary.uninspected:
        yield ""
        yield _uninspected(summary.uninspected)
    if isinstance(summary, OpeningSummary) and summary.preflight is not None:
        yield ""
        yield from _preflight_as_table(summary.preflight)
    yield from parts.as_table(summary)
    yield from outcomes.as_table(summary)
    yield from _not_done(summary)
    yield from _verdict(judge(summary))


def _section(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    if rows:
        yield ""
        yield from table(head, rows)


def _counted(counts: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    return [(name, str(count)) for name, count in counts]


def _left(summary: Summary, state: State) -> str:
    """What a person should know of the messages in a state."""
    known = summary.acknowledged[state]
    if state not in NOT_DONE or known == summary.counts[state]:
        return "acknowledged" if known else ""
    return f"not done, {known} of them acknowledged" if known else "not done"


def _head(summary: Summary) -> Iterable[str]:
    yield from wrapped(f"mailbox   {summary.mailbox}", indent=10)
    if summary.job:
        yield from wrapped(f"job       {summary.job}", indent=10)
    if summary.dry_run:
        yield f"dry run   of {summary.phase}: nothing was written"
    elif summary.phase:
        yield f"phase     {summary.phase}, {'finished' if summary.is_finished else 'begun'}"
    if isinstance(summary, StatusSummary) and summary.activity is not None:
        yield from _activity_as_table(summary.activity)
    yield f"messages  {summary.messages} ({size_text(summary.bytes)})"
    if summary.plaintext is not None:
        yield from plaintext_as_table(summary.plaintext)
    if summary.originals:
        yield f"originals {counted(summary.originals, 'message')} as they were, kept to undo"
    if summary.space is not None:
        yield f"space     a real run would take about {size_text(summary.space)} of disk"


def _uninspected(count: int) -> str:
    many = "1 attachment" if count == 1 else f"{count:,} attachments"
    return f"{many} may contain mail: encrypted or unknown archives, mail stores"


_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
"""What a person may accept is named by it, each part by another."""


def _not_done(summary: Summary) -> Iterable[str]:
    yield from _listing("not done", summary.not_done, summary.not_done_beyond)
    # Those above need them as well.
    done = [entry for entry in summary.needs_old_keys if entry.state not in NOT_DONE]
    yield from _listing("done, but in need of an old key", done)


def _listing(
    title: str, entries: Sequence[NotDone | NeedsOldKeys], beyond: int = 0
) -> Iterable[str]:
    """Messages by reason, acknowledged ones last, with what there is to do."""
    if not entries:
        return
    groups: dict[tuple[bool, State, str], list[NotDone | NeedsOldKeys]] = {}
    for entry in entries:
        reason = _DIGEST.sub("DIGEST", entry.reason)
        groups.setdefault((entry.acknowledged, entry.state, reason), []).append(entry)
    yield ""
    yield f"{title} ({len(entries) + beyond})"
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1])))
    for (acknowledged, state, reason), several in ordered[:SHOWN]:
        known = ", acknowledged" if acknowledged else ""
        yield from wrapped(f"{len(several)} {state.value}{known}: {reason}", first=2, indent=4)
        if not acknowledged:
            what = WHAT_TO_DO[state] if state in NOT_DONE else KEEP
            yield from wrapped(f"do: {what}", first=4, indent=8)
        yield from _places(several)
    if len(ordered) > SHOWN:
        yield f"  and for {len(ordered) - SHOWN} more reasons: --json lists every message"
    if beyond:
        yield from wrapped(
            f"and {beyond} more that are not listed: sectool report DIR --messages FILE lists"
            " every message of a job",
            first=2,
            indent=4,
        )


def _places(entries: Sequence[NotDone | NeedsOldKeys]) -> Iterable[str]:
    for entry in entries[:SHOWN_OF_EACH]:
        yield from wrapped(f"{entry.folder}  {entry.message_id or entry.ref}", first=4, indent=8)
        for digest in _DIGEST.findall(entry.reason):
            yield f"      --accept {digest}"
    if len(entries) > SHOWN_OF_EACH:
        yield f"    and {len(entries) - SHOWN_OF_EACH} more: --json lists every message"


# --- what a run on a job is doing, or how it ended ------------------------------------------------


def _activity_as_json(activity: Activity) -> dict[str, Any]:
    """A member of the document of ``status`` and of ``status.json``."""
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in asdict(activity).items()
    }


def _activity_as_table(activity: Activity) -> Iterable[str]:
    """The same in a line for a person."""
    if activity.ended is not None:
        code = activity.exit_code
        yield f"last run  {activity.operation}, ended {_time(activity.ended)} with exit code {code}"
        return
    done = f"{activity.done}{'' if activity.total is None else f' of {activity.total}'}"
    where = f"{activity.stage} {done}" if activity.stage else "beginning"
    if activity.is_on:
        yield f"running   {activity.operation}: {where}"
        yield f"          process {activity.pid}, since {_time(activity.started)}"
    else:
        yield f"stopped   {activity.operation}: {where} at {_time(activity.updated)}, not ended"
        yield "          the process is gone: the same command goes on where it stopped"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


# --- the verdict before a move --------------------------------------------------------------------


_SCENARIOS = {
    Scenario.UPGRADE: "upgrade: every old key is at the new place",
    Scenario.RE_ENROLMENT: "re-enrolment: old keys are missing at the new place",
    Scenario.CLEAN_INSTALLATION: "clean-installation: no old key, an authority made anew",
    Scenario.NEW_SITE: "new-site: no old key, another authority",
}


def _preflight_as_json(verdict: Preflight) -> dict[str, Any]:
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
        "seconds": verdict.seconds
        and dict(zip(("decrypt", "encrypt"), map(list, verdict.seconds), strict=True)),
    }


def _time_range(several: TimeRange) -> str:
    """In the unit a person would use."""
    units = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
    size, unit = next(one for one in units if several.longest >= 2 * one[0] or one[0] == 1)
    shortest, longest = (max(1, round(seconds / size)) for seconds in several)
    return f"{shortest} to {max(longest, shortest + 1)} {unit}"


def _preflight_as_table(verdict: Preflight) -> Iterable[str]:
    """The same for a person, a line at a time."""
    why = f" ({verdict.reason})" if verdict.reason else ""
    yield from wrapped(
        f"safe to move now: {'yes' if verdict.safe_to_move else 'no'}{why}", indent=2
    )
    yield f"  unreadable if moved now: {counted(verdict.unreadable_if_moved_now, 'message')}"
    if verdict.unreadable_after_decrypting is not None:
        yield f"  cannot be decrypted with the given keys: {verdict.unreadable_after_decrypting}"
    if verdict.scenario is not None:
        yield f"  kind of move: {_SCENARIOS[verdict.scenario]}"
    free = "" if verdict.space_free is None else f", {size_text(verdict.space_free)} free there"
    yield f"  space for a move: about {size_text(verdict.space_needed)}{free}"
    if verdict.space_free is not None and verdict.space_free < verdict.space_needed:
        yield "  that is not enough: free some, or move in portions with --folder or --limit"
    if verdict.seconds is not None:
        decrypting, encrypting = map(_time_range, verdict.seconds)
        yield f"  time: {decrypting} for decrypting, {encrypting} for encrypting"
    for key, count in verdict.missing_keys.items():
        yield from wrapped(f"  missing key: {key_name(key)}, {counted(count, 'message')}", indent=4)


# --- what lies in clear, and for how long ---------------------------------------------------------


def plaintext_as_json(plaintext: Plaintext) -> dict[str, Any]:
    """A member of the document of ``decrypt``, ``status`` and ``purge``."""
    return {
        "since": _iso(plaintext.since),
        "days": plaintext.days,
        "checkpoints": plaintext.checkpoints.count,
        "bytes": plaintext.checkpoints.bytes,
        "sealed": plaintext.sealed.count,
        "sealed_to": list(plaintext.sealed_to),
        "in_mailbox": {
            "since": _iso(plaintext.in_mailbox.since),
            "messages": plaintext.in_mailbox.count,
            "bytes": plaintext.in_mailbox.bytes,
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def plaintext_as_table(plaintext: Plaintext) -> Iterable[str]:
    """The same in lines for a person."""
    lying = plaintext.checkpoints, plaintext.in_mailbox
    if not any(each.count for each in lying):
        yield from wrapped(
            "plaintext none: sectool left no decrypted copy in the job directory or the mailbox",
            indent=10,
        )
    if plaintext.checkpoints.count:
        yield f"plaintext {_told(plaintext.checkpoints, 'checkpoints', plaintext)}"
    if plaintext.in_mailbox.count:
        yield f"in clear  {_told(plaintext.in_mailbox, 'messages in the mailbox', plaintext)}"
    if plaintext.sealed.count:
        told = f"sealed    {plaintext.sealed.count} checkpoints"
        to = f", to {' '.join(plaintext.sealed_to)}" if plaintext.sealed_to else ""
        yield from wrapped(told + to, indent=10)


def _told(lying: Lying, what: str, plaintext: Plaintext) -> str:
    told = f"{lying.count} {what} ({size_text(lying.bytes)})"
    if lying.since is None:
        return told
    days = plaintext.days_since(lying.since)
    return f"{told} for {counted(days, 'day')}, since {lying.since.astimezone():%Y-%m-%d}"


# --- whether a person may be content --------------------------------------------------------------


def verdict_as_json(summary: Summary) -> dict[str, Any]:
    """Member ``verdict`` of the document of the command contract."""
    judgement = judge(summary)
    return {"good": judgement.good, "text": judgement.text}


def next_line(step: str, *, first: int = 0) -> Iterable[str]:
    """What comes next; a command is in one line, to be copied whole."""
    if step.startswith("sectool "):
        return [f"{' ' * first}next: {step}"]
    return wrapped(f"next: {step}", first=first, indent=first + 6)


def _verdict(judgement: Judgement) -> Iterable[str]:
    """The same for a person, and what comes next."""
    yield ""
    yield from wrapped(f"verdict   {judgement.text}", indent=10)
    if judgement.next_step:
        yield ""
        yield from next_line(judgement.next_step)
