"""Where many jobs stand, a line each and a total; one that cannot be read costs only its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from sectool.cli.options import Manners
from sectool.cli.shell import (
    answer,
    envelope,
    error_body,
    report,
    say_in_lines,
    tell,
    warnings_after,
)
from sectool.cli.words import advice, retirement
from sectool.cli.words.layout import table, wrapped
from sectool.cli.words.render import as_json, next_line, plaintext_as_json, plaintext_as_table
from sectool.cli.words.verdicts import Judgement, judge
from sectool.errors import Interrupted, SectoolError
from sectool.outcome import State
from sectool.plaintext import Plaintext
from sectool.progress import size_text
from sectool.summary import StatusSummary, Summary, VerifySummary
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One of several jobs, and what was found of it."""

    directory: Path
    summary: VerifySummary | None
    error: SectoolError | None = None
    """Why there is no summary."""
    warnings: Sequence[dict[str, str]] = ()

    def exit_code(self, *, looks_only: bool) -> int:
        """Of a command that was given this job alone."""
        if self.summary is None:
            return 0 if self.error is None else self.error.exit_code
        return 0 if looks_only else self.summary.exit_code

    @property
    def judgement(self) -> Judgement:
        """Of a job that cannot be read it is no good one."""
        if self.summary is not None:
            return judge(self.summary)
        return Judgement(False, "" if self.error is None else self.error.message, "")


def see_each(directories: Sequence[Path], look: Callable[[Path], VerifySummary]) -> list[JobSeen]:
    """Looks at several jobs, one after the other.

    Args:
        directories: of the jobs.
        look: at one.

    Raises:
        Interrupted: someone asked to stop; the other jobs are left.
    """
    return [_see(directory, look) for directory in directories]


def _see(directory: Path, look: Callable[[Path], VerifySummary]) -> JobSeen:
    before = len(warnings_after(0))
    summary, failure = None, None
    try:
        summary = look(directory)
    except Interrupted:
        raise
    except SectoolError as error:
        failure = error
    return JobSeen(directory, summary, failure, warnings_after(before))


def show_many(found: Sequence[JobSeen], manners: Manners, *, looks_only: bool) -> NoReturn:
    """Prints what was found of several jobs and ends the command.

    Args:
        found: in the order to be told.
        manners: how.
        looks_only: what was seen is no failure.

    Raises:
        typer.Exit: with the exit code of the first job that could not be read, else,
            unless ``looks_only``, of the first that has one, else 0.
    """
    summaries = [job.summary for job in found if job.summary is not None]
    total = _total(summaries)
    answers = _answers(found) if any(one.retire is not None for one in summaries) else []
    errors = [(job.directory, job.error) for job in found if job.error is not None]
    codes = [error.exit_code for _, error in errors]
    codes += [job.exit_code(looks_only=looks_only) for job in found]
    code = next((code for code in codes if code), 0)
    if manners.json:
        documents = [_document(job, looks_only=looks_only) for job in found]
        counted = {"jobs": len(found), **_total_document(total)}
        document = {"jobs": documents, "total": counted, "verdict": _verdict(found)}
        if answers:
            document["retire"] = retirement.combined_json(answers)
        answer({**envelope(code), **document})
    elif not manners.quiet:
        report([*_lines(found, total), *_answer_lines(found, answers), *_last_lines(found)])
    elif code:
        say_in_lines(f"sectool: verdict: {_verdict(found)['text']}")
    for directory, error in errors:
        tell(error, where=str(directory))
    raise typer.Exit(code)


def _answers(found: Sequence[JobSeen]) -> list[retirement.JobAnswers]:
    return [
        retirement.JobAnswers(str(job.directory), job.summary.retire if job.summary else None)
        for job in found
    ]


def _answer_lines(
    found: Sequence[JobSeen], answers: Sequence[retirement.JobAnswers]
) -> Iterable[str]:
    for job in found:
        if job.summary is not None and job.summary.retire is not None:
            yield ""
            yield from wrapped(f"job {job.directory}", indent=2)
            yield from retirement.as_table(job.summary.retire)
    if answers:
        yield ""
        yield from retirement.combined_table(answers)


def _total(summaries: Sequence[Summary]) -> Summary:
    total = Summary(
        messages=sum(each.messages for each in summaries),
        bytes=sum(each.bytes for each in summaries),
        counts=sum((each.counts for each in summaries), Counter[State]()),
        acknowledged=sum((each.acknowledged for each in summaries), Counter[State]()),
        job_data_removed=sum(each.job_data_removed for each in summaries),
    )
    lying = [each.plaintext for each in summaries if each.plaintext is not None]
    if lying:
        total.plaintext = Plaintext.total(lying)
    return total


def _document(job: JobSeen, *, looks_only: bool) -> dict[str, Any]:
    """What the command says of this job alone, with the job where it cannot be read."""
    code = job.exit_code(looks_only=looks_only)
    if job.summary is not None:
        return as_json(job.summary, code, job.warnings)
    assert job.error is not None
    own = {"job": str(job.directory), "error": error_body(job.error)}
    return {**envelope(code, job.warnings), **own}


def _verdict(found: Sequence[JobSeen]) -> dict[str, Any]:
    bad = sum(not job.judgement.good for job in found)
    text = f"{bad} of {len(found)} jobs are not done, or cannot be read" if bad else "all done"
    return {"good": not bad, "text": text}


def _last_lines(found: Sequence[JobSeen]) -> Iterable[str]:
    for job in found:
        if not job.judgement.good:
            yield ""
            yield from wrapped(f"{job.directory}: {job.judgement.text}", indent=4)
            if job.judgement.next_step:
                yield from next_line(job.judgement.next_step, first=4)
    yield ""
    yield from wrapped(f"verdict   {_verdict(found)['text']}", indent=10)


def _total_document(total: Summary) -> dict[str, Any]:
    document: dict[str, Any] = {
        "messages": total.messages,
        "bytes": total.bytes,
        "counts": {state.value: total.counts[state] for state in State if total.counts[state]},
    }
    if total.plaintext is not None:
        document["plaintext"] = plaintext_as_json(total.plaintext)
    return document


_HEAD = (
    *("job", "phase", "exit", "mail", "done", "proven", "purged", "left"),
    *("in clear", "days"),
)


def _lines(found: Sequence[JobSeen], total: Summary) -> Iterable[str]:
    rows = [_row(str(job.directory), job.summary) for job in found]
    yield from table(_HEAD, [*rows, _row(f"total of {len(found)}", total)], gives_way=(0, 1))
    if total.plaintext is not None:
        yield ""
        yield f"messages  {total.messages} ({size_text(total.bytes)})"
        yield from plaintext_as_table(total.plaintext)


def _row(name: str, summary: Summary | None) -> tuple[str, ...]:
    if summary is None:
        return (name, "unreadable", *[""] * (len(_HEAD) - 2))
    phase = ""
    if summary.phase:
        phase = f"{summary.phase}, {'finished' if summary.is_finished else 'begun'}"
    figures = (
        summary.messages,
        advice.replaced(summary),
        summary.counts[State.VERIFIED],
        summary.job_data_removed,
        summary.left,
    )
    return (name, phase, _last_exit(summary), *map(str, figures), *_in_clear(summary.plaintext))


def _last_exit(summary: Summary) -> str:
    """Exit code of the last run on a job; of one that is on, or was killed, a word."""
    activity = summary.activity if isinstance(summary, StatusSummary) else None
    if activity is None:
        return ""
    if activity.ended is None:
        return "on" if activity.is_on else "killed"
    return str(activity.exit_code)


def _in_clear(lying: Plaintext | None) -> tuple[str, str]:
    """How much lies in clear, and for how many days."""
    if lying is None:
        return "", ""
    things = lying.checkpoints.count + lying.in_mailbox.count
    return str(things), str(lying.days) if things else ""
