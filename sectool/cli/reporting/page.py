"""The page: one file that a browser shows without a network, with or without script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from sectool import __version__
from sectool.cli.reporting.collect import Former, Group, Line, Report, Tally, shown
from sectool.cli.words import advice, retirement
from sectool.cli.words.layout import counted, key_name
from sectool.cli.words.verdicts import Level
from sectool.outcome import NOT_DONE, State
from sectool.plaintext import Lying, Plaintext
from sectool.progress import size_text
from sectool.retirement import NOT_LOOKED_AT
from sectool.values import dataclass

GROUPS = 60
"""Reasons that are listed; the tables for a spreadsheet have all messages."""

BARS = 12
"""Keys and algorithms that have a bar each."""

FOLDERS = 4
"""Folders that are named of messages that are not done for one reason."""

MARKS = {Level.GOOD: "✔", Level.OPEN: "◐", Level.BAD: "✖", Level.UNREADABLE: "?"}
"""What stands beside a level, so that its colour says nothing alone."""

_PAGE = files("sectool.cli.reporting")


class Kind(Enum):
    """Why the states of messages are shown in one colour and pattern."""

    PROVEN = "encrypted, and opened with the new key"
    REPLACED = "encrypted, not opened with the new key yet"
    WAITING = "opens, not encrypted to the new key yet"
    NOTHING_TO_DO = "nothing to do"
    LEFT_OUT = "left out of what was asked for"
    NOT_DONE = "not done"

    @property
    def css_class(self) -> str:
        """Its name in the style of the page."""
        return self.name.lower().replace("_", "-")


KINDS = {
    State.VERIFIED: Kind.PROVEN,
    State.REENCRYPTED: Kind.REPLACED,
    State.REWRAPPED: Kind.REPLACED,
    State.CHECKPOINTED: Kind.WAITING,
    State.DECRYPTED: Kind.WAITING,
    State.READABLE: Kind.WAITING,
    State.NOT_SELECTED: Kind.LEFT_OUT,
    **dict.fromkeys(NOT_DONE, Kind.NOT_DONE),
}
"""Of the states that something is to be said of; all others have nothing to do."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a plot."""

    label: str
    count: int
    start: float
    """Where it begins, in hundredths of the width."""
    width: float
    """In hundredths of the width."""
    css_class: str = ""
    note: str = ""


def render(report: Report) -> Iterator[str]:
    """The page, a piece at a time.

    Args:
        report: what it tells.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number="{:,}".format, size=size_text, day=_day, moment=_moment, shown=shown
    )
    style, script = _text("page.css"), _text("page.js")
    template = environment.from_string(_text("page.html"))
    yield from template.generate(
        **_contents(report),
        report=report,
        style=style,
        script=script,
        policy=_policy(style, script),
        version=__version__,
        marks=MARKS,
        last_run=last_run,
    )


def _text(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs but what stands in the page itself (CSP level 2)."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " base-uri 'none'; form-action 'none'"
    )


def _contents(report: Report) -> dict[str, Any]:
    order = list(Level)
    groups = sorted(report.groups.values(), key=lambda group: -group.messages)
    needing = sorted(report.needing.values(), key=lambda group: -group.messages)
    return {
        "one": report.lines[0] if len(report.lines) == 1 else None,
        "lines": sorted(report.lines, key=lambda line: (-order.index(line.level), line.job)),
        "facts": list(_facts(report)),
        "states": _states(report),
        "ways": _ways(groups[:GROUPS], report),
        "groups_left": len(groups) - GROUPS,
        "needing": needing[:GROUPS],
        "needing_left": len(needing) - GROUPS,
        "folders_of": _folders,
        "plaintext": list(_plaintext(report)),
        "keys": list(_keys(report)),
        "looked_at": list(_looked_at(report)),
        "not_looked_at": ", ".join(NOT_LOOKED_AT),
        "years": _years(report.years, report.made.year),
        "key_bars": _most(report.keys, report.held, "key at hand", "other keys"),
        "algorithm_bars": _most(report.algorithms, set(), "", "other algorithms"),
    }


# --- the verdict and the figures ------------------------------------------------------------------


def _facts(report: Report) -> Iterable[tuple[str, str, str]]:
    """What is counted, how many, and what that is."""
    lines = report.read
    messages = sum(line.messages for line in lines)
    acknowledged = sum(line.acknowledged for line in lines)
    lying = report.plaintext
    yield "messages", f"{messages:,}", size_text(sum(line.bytes for line in lines))
    yield "encrypted", f"{sum(line.replaced for line in lines):,}", "to the new key"
    yield "proven", f"{sum(line.proven for line in lines):,}", "opened with the new key"
    yield "waiting", f"{sum(line.waiting for line in lines):,}", "not encrypted to it yet"
    note = f"{acknowledged:,} acknowledged beside" if acknowledged else "none acknowledged"
    yield "not done", f"{sum(line.not_done for line in lines):,}", note
    in_clear = lying.checkpoints.count + lying.in_mailbox.count
    yield "in clear", f"{in_clear:,}", f"for {_days(lying.days)}" if in_clear else "now"


def _states(report: Report) -> list[tuple[Bar, str, int]]:
    """Each state with its part of the whole, what is said of it, and how many are acknowledged."""
    total = max(1, report.counts.total())
    order = list(Kind)
    kinds = {state: KINDS.get(state, Kind.NOTHING_TO_DO) for state in State}
    found, start = [], 0.0
    for state in sorted(report.counts, key=lambda state: order.index(kinds[state])):
        count = report.counts[state]
        if count:
            width = 100 * count / total
            bar = Bar(state.value, count, start, width, kinds[state].css_class, f"{width:.1f} %")
            found.append((bar, kinds[state].value, report.acknowledged[state]))
            start += width
    return found


@dataclass(frozen=True, slots=True)
class Way:
    """What to do about messages that are in one state, for whatever reasons."""

    state: State
    what_to_do: str
    command: str
    groups: list[Group]

    @property
    def messages(self) -> int:
        """How many there are."""
        return sum(group.messages for group in self.groups)

    @property
    def acknowledged(self) -> int:
        """Those of them that a person knows of."""
        return sum(group.acknowledged for group in self.groups)


def _ways(groups: Iterable[Group], report: Report) -> list[Way]:
    """Reasons by what to do about them, the most messages first."""
    mailbox, job = "MAILBOX", "DIR"
    if len(report.lines) == 1:
        mailbox, job = report.lines[0].mailbox, report.lines[0].job
    found: dict[tuple[State, str], Way] = {}
    for group in groups:
        command = advice.filled_in(group.command, mailbox, job)
        words = advice.WHAT_TO_DO[group.state]
        way = found.setdefault((group.state, command), Way(group.state, words, command, []))
        way.groups.append(group)
    return sorted(found.values(), key=lambda way: -way.messages)


def _folders(group: Group) -> str:
    """Where the messages of a group lie."""
    most = group.folders.most_common(FOLDERS)
    more = len(group.folders) - len(most)
    told = ", ".join(f"{folder} ({count:,})" for folder, count in most)
    return f"{told} and {counted(more, 'folder')} more" if more else told


# --- plots ----------------------------------------------------------------------------------------


def _bars(counts: Sequence[tuple[str, int, str]]) -> list[Bar]:
    most = max((count for _, count, _ in counts), default=1)
    return [
        Bar(label, count, 0, 100 * count / most, "held" if note else "other", note)
        for label, count, note in counts
    ]


def _most(tally: Tally, held: set[str], note: str, others: str) -> list[Bar]:
    """The words that are met most, and one bar for all others."""
    most = tally.most_common(BARS)
    rows = [(word, count, note if word in held else "") for word, count in most]
    rest = tally.total() - sum(count for _, count in most) + tally.others
    if rest:
        rows.append((others, rest, ""))
    return _bars(rows)


def _years(tally: Tally, present: int) -> list[Bar]:
    """The years of mail without gaps, and one bar for those that no mail is of."""
    real = {
        int(year): count
        for year, count in tally.items()
        if year.isascii() and year.isdecimal() and 1970 <= int(year) <= present + 1
    }
    rows = (
        [(str(year), real.get(year, 0), "") for year in range(min(real), max(real) + 1)]
        if real
        else []
    )
    other = tally.total() - sum(real.values()) + tally.others
    if other:
        rows.append(("other", other, ""))
    return _bars(rows)


# --- what lay in clear ----------------------------------------------------------------------------


def _plaintext(report: Report) -> Iterable[tuple[str, str]]:
    """Where plaintext lies or lay, and what the logs say of it."""
    lying = report.plaintext
    yield "in job directories, now", _lies(lying.checkpoints, "checkpoint", lying)
    yield "in mailboxes, now", _lies(lying.in_mailbox, "message", lying)
    yield "in job directories, before", _lay(report.checkpoints, "checkpoint")
    yield "in mailboxes, before", _lay(report.in_mailbox, "message")
    if lying.sealed.count:
        yield "sealed, no plaintext", counted(lying.sealed.count, "checkpoint")


def _lies(lying: Lying, noun: str, plaintext: Plaintext) -> str:
    if not lying.count:
        return "none that the logs know of"
    told = f"{lying.count:,} {noun}{'' if lying.count == 1 else 's'} ({size_text(lying.bytes)})"
    if lying.since is None:
        return f"{told}, since when is not known"
    days = _days(plaintext.days_since(lying.since))
    return f"{told}, the oldest for {days}, since {_day(lying.since)}"


def _lay(former: Former, noun: str) -> str:
    if not former.count or former.since is None:
        return "none that the logs know of"
    told = f"{former.count:,} {noun}{'' if former.count == 1 else 's'}"
    longest = _duration(timedelta(seconds=former.seconds))
    return f"{told}, the first since {_day(former.since)}; none longer than {longest}"


def _days(days: int) -> str:
    return counted(days, "day") if days else "less than a day"


def _duration(length: timedelta) -> str:
    """A length of time, rounded up."""
    if length >= timedelta(days=2):
        return counted(-(-length // timedelta(days=1)), "day")
    hours = -(-length // timedelta(hours=1))
    return counted(max(1, hours), "hour")


# --- old keys -------------------------------------------------------------------------------------


def _keys(report: Report) -> Iterable[tuple[str, str, str, str]]:
    """Each old key that was asked for: its name, its file, the answer in short, and in words."""
    if len(report.lines) == 1:
        for one in report.answers[0].keys or ():
            yield _name(one.key), shown(one.file, 80), one.answer.value, retirement.reason(one)
        return
    for combined in retirement.combined(report.answers):
        key = combined.key
        saying = sum(answer is combined.answer for answer in combined.answers)
        said = combined.reason.removeprefix(combined.answer.value).removeprefix(", ")
        words = f"so say {saying} of {counted(len(combined.answers), 'job')} {said}".rstrip()
        yield _name(key.key), shown(key.file, 80), combined.answer.value, words


def _name(key: Any) -> str:
    return shown(key_name(key), 160)


def _looked_at(report: Report) -> Iterable[str]:
    """What was looked at before that was said, or that nobody asked."""
    asked = [job for job in report.answers if job.keys is not None]
    if not asked:
        yield "Nobody asked since the mail was last worked on, so nothing is said of any key."
    elif len(asked) < len(report.answers):
        missing = counted(len(report.answers) - len(asked), "job")
        yield f"Not asked, or not known, in {missing}: there each old key counts as unclear."
    looked = [key.looked_at for job in asked for key in job.keys or ()]
    if asked and not looked:
        yield "No old key was read, so nothing is said of any."
    elif len(report.answers) == 1 and looked:
        what = f"{counted(looked[0].messages, 'message')} in {counted(looked[0].folders, 'folder')}"
        yield f"Looked at: {what} of {shown(looked[0].mailbox, 120)}, on {_day(looked[0].at)}."
    elif looked:
        first, last = min(one.at for one in looked), max(one.at for one in looked)
        yield f"Asked in {counted(len(asked), 'job')}, from {_day(first)} to {_day(last)}."


# --- words ----------------------------------------------------------------------------------------


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def last_run(line: Line) -> str:
    """How the last run on a job ended, or that it did not."""
    if not line.last_run:
        return "not known"
    if line.is_running:
        return f"{line.last_run}, running"
    if line.ended is None:
        return f"{line.last_run}, stopped before its end"
    return f"{line.last_run}, exit code {line.last_exit_code}, {_moment(line.ended)}"
