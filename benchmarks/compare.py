"""Holds sectool against other programs and against floors, on the same mail, by turns.

Every answer is checked: how many messages came out, and the digests of a sample. Processor
time per message is steady on a busy machine, wall-clock time is not.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.commands import FLOORS, Round, Sample, WrongAnswer, put_into, say
from benchmarks.mail import Mail, make_large, make_mail

# --- what is compared ------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A mailbox, and in how many rounds."""

    mix: str
    """Name of a mix; ``large``: one message."""
    messages: int
    """How many; of a large one, its bytes."""
    rounds: int
    cores: int
    """Processors, and processes of each command."""
    watch: bool = False
    """Whether memory is sampled, which makes wall-clock times worse."""


Get = Callable[[str, str], Sample]
"""What a step costs in the round that is under way: plan, step."""
Value = Callable[[Get, str], tuple[float, float | None]]
"""A figure of a plan, and the same by processor time."""


@dataclass(frozen=True)
class Row:
    """One comparison with its goals."""

    name: str
    plan: str
    """In whose rounds it is computed."""
    value: Value
    form: str
    """How figures are printed."""
    must: float | None = None
    aim: float | None = None


def faster(ours: str, *theirs: str) -> Value:
    """How many times as fast as other commands in a row."""

    def value(get: Get, plan: str) -> tuple[float, float | None]:
        own, others = get(plan, ours), [get(plan, name) for name in theirs]
        by_cpu = sum(each.cpu for each in others) / own.cpu
        return sum(each.seconds for each in others) / own.seconds, by_cpu

    return value


def speed(name: str) -> Value:
    """Messages a second."""
    return lambda get, plan: (get(plan, name).messages / get(plan, name).seconds, None)


def seconds(name: str) -> Value:
    """Seconds in all."""
    return lambda get, plan: (get(plan, name).seconds, get(plan, name).cpu)


def memory(*names: str) -> Value:
    """The highest peak of some commands, in megabytes."""
    return lambda get, plan: (max(get(plan, name).megabytes for name in names), None)


def more_cores(name: str) -> Value:
    """How many times as fast as on one core, and how much dearer."""

    def value(get: Get, plan: str) -> tuple[float, float | None]:
        one, all_of_them = get(plan, name), get("ordinary", name)
        return one.seconds / all_of_them.seconds, one.cpu / all_of_them.cpu

    return value


def dearer(name: str) -> Value:
    """Percent that a message of many costs more processor time than one of few.

    What a run costs that has hardly anything to do is taken off both.
    """

    def value(get: Get, plan: str) -> tuple[float, float | None]:
        start = get("start", name)
        few, many = (
            (some.cpu - start.cpu) / (some.messages - start.messages)
            for some in (get(plan, name), get("many", name))
        )
        return 100 * (many / few - 1), None

    return value


TIMES, SECONDS, MEGABYTES, PERCENT = "{:.2f} times", "{:.1f} s", "{:.0f} MB", "{:+.0f} %"
_OPENSSL = ("openssl decrypt", "openssl encrypt")
RATE = "{:,.0f} messages/s"

ROWS = (
    Row("decrypt against openssl", "ordinary", faster("decrypt", "openssl decrypt"), TIMES, 4, 5.5),
    Row(
        "decrypt against M2Crypto", "ordinary", faster("decrypt", "M2Crypto decrypt"), TIMES, 0.8, 1
    ),
    Row(
        "decrypt against its floor",
        "ordinary",
        faster("decrypt", "floor of decrypt"),
        TIMES,
        0.6,
        0.9,
    ),
    Row("encrypt against openssl", "ordinary", faster("encrypt", "openssl encrypt"), TIMES, 3, 5),
    Row("rewrap against openssl, twice", "ordinary", faster("rewrap", *_OPENSSL), TIMES, 6, 10),
    Row("scan against its floor", "ordinary", faster("scan", "floor of scan"), TIMES, 0.5, 0.8),
    Row("scan against its floor", "small", faster("scan", "floor of scan"), TIMES, 0.5, 0.8),
    Row("scan", "small", speed("scan"), RATE),
    Row("scan --quick", "small", speed("scan --quick"), RATE, 8000, 20000),
    Row("decrypt against openssl", "curve", faster("decrypt", "openssl decrypt"), TIMES),
    Row("encrypt against openssl", "curve", faster("encrypt", "openssl encrypt"), TIMES),
    Row("resume decrypt", "many", seconds("decrypt again"), SECONDS, 5, 3),
    Row("resume encrypt", "many", seconds("encrypt again"), SECONDS, 5, 3),
    Row("resume rewrap", "many", seconds("rewrap again"), SECONDS, 5, 3),
    Row("memory", "many", memory("decrypt", "encrypt", "rewrap"), MEGABYTES, 300, 250),
    Row("memory", "large", memory("decrypt", "encrypt", "rewrap"), MEGABYTES, 300, 250),
    Row(
        "help against an empty one",
        "nothing",
        faster("empty --help", "--help"),
        TIMES,
        1.5,
        1.1,
    ),
    Row("cores: decrypt on all against one", "one core", more_cores("decrypt"), TIMES),
    Row("cores: encrypt on all against one", "one core", more_cores("encrypt"), TIMES),
    Row("growth of decrypt", "few", dearer("decrypt"), PERCENT, 15, 5),
    Row("growth of encrypt", "few", dearer("encrypt"), PERCENT, 15, 5),
    Row("growth of rewrap", "few", dearer("rewrap"), PERCENT, 15, 5),
)
"""All that is compared: first what of sectool, then with what, on the mail of a plan.

A row more is a line here, and a step above where its command is a new one.
"""


@dataclass
class Figure:
    """A row over all rounds."""

    row: Row
    values: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)
    failed: bool = False
    """A command did not do what it was measured for."""


class Run:
    """All rounds of some rows."""

    def __init__(self, plans: Mapping[str, Plan], place: Path) -> None:
        self._plans = plans
        self._place = place
        self._mail: dict[tuple[str, int], Mail] = {}
        self._rounds: dict[str, list[Round]] = {name: [] for name in plans}

    def go(self, rows: Sequence[Row]) -> list[Figure]:
        """Runs all rows by turns; a step that fails costs its rows alone."""
        found = [Figure(row) for row in rows]
        for number in range(max(self._plans[row.plan].rounds for row in rows)):
            for figure in found:
                if number < self._plans[figure.row.plan].rounds:
                    self._once(figure, number)
        return found

    def _once(self, figure: Figure, number: int) -> None:
        def get(plan: str, name: str) -> Sample:
            return self._round(plan, number)[name]

        try:
            value, by_cpu = figure.row.value(get, figure.row.plan)
        except WrongAnswer as error:
            say(f"{figure.row.name}: {error}")
            figure.failed = True
        else:
            figure.values.append(value)
            if by_cpu is not None:
                figure.by_cpu.append(by_cpu)

    def _round(self, name: str, number: int) -> Round:
        plan, rounds = self._plans[name], self._rounds[name]
        number = min(number, plan.rounds - 1)
        while len(rounds) <= number:
            mail = self._mail_of(plan)
            place = self._place / f"{name} {len(rounds) + 1}"
            say(f"{place.name}: {len(mail.names)} messages, {mail.size / 1e6:.0f} MB")
            rounds.append(Round(mail, place, plan.cores, watch=plan.watch))
        return rounds[number]

    def _mail_of(self, plan: Plan) -> Mail:
        key = plan.mix, plan.messages
        if key not in self._mail:
            place = self._place / "mail" / f"{plan.mix} {plan.messages}"
            self._mail[key] = (
                make_large(place, plan.messages)
                if plan.mix == "large"
                else make_mail(place, plan.mix, plan.messages)
            )
        return self._mail[key]

    def samples(self) -> Iterator[tuple[str, str, list[Sample]]]:
        """Plan, step and what each round of it cost."""
        for plan, rounds in self._rounds.items():
            for name in rounds[0].samples if rounds else ():
                yield plan, name, [each.samples[name] for each in rounds if name in each.samples]


# --- what is printed -------------------------------------------------------------------


def spread(values: Sequence[float], form: str) -> str:
    """The lowest and the highest value."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low.partition(' ')[0]} to {high}"


def tables(figures: Iterable[Figure], samples: Iterable[tuple[str, str, list[Sample]]]) -> str:
    """Both tables in Markdown: comparisons with goals, and what each command cost."""
    lines = [
        "| | mail | median | lowest to highest | by processor time | must | aim |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for figure in figures:
        row = figure.row
        if figure.values and not figure.failed:
            cells = [row.form.format(median(figure.values)), spread(figure.values, row.form)]
            cells.append(row.form.format(median(figure.by_cpu)) if figure.by_cpu else "")
        else:
            cells = ["FAILED", "", ""]
        goals = [f"{goal:g}" if goal is not None else "" for goal in (row.must, row.aim)]
        lines.append(f"| {' | '.join((row.name, row.plan, *cells, *goals))} |")
    lines += [
        "",
        "| command | mail | messages | messages/s | lowest to highest | ms each | first process |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    costs = {(plan, name): each for plan, name, each in samples}
    for (plan, name), each in costs.items():
        rates = [cost.messages / cost.seconds for cost in each]
        share = median(cost.first / cost.cpu for cost in each)
        cells = [f"{each[0].messages:,}", f"{median(rates):,.1f}", spread(rates, "{:,.1f}")]
        cells.append(f"{median(cost.cpu_each for cost in each):.2f}")
        cells.append(f"{share:.0%}" if share < 0.99 else "")  # else it waits for all others
        lines.append(f"| {' | '.join((name, plan, *cells))} |")
    return "\n".join([*lines, *for_an_organisation(costs)]) + "\n"


MAILBOXES, OF_MESSAGES = 10_000, 50_000


def for_an_organisation(costs: Mapping[tuple[str, str], Sequence[Sample]]) -> Iterator[str]:
    """A table of how long ten thousand mailboxes take, at what ordinary mail cost."""
    messages = MAILBOXES * OF_MESSAGES
    names = [
        name for name in ("scan", "decrypt", "encrypt", "rewrap") if ("ordinary", name) in costs
    ]
    if names:
        yield f"\n| {MAILBOXES:,} mailboxes of {OF_MESSAGES:,} messages | days | days of one core |"
        yield "|---|---:|---:|"
    for name in names:
        each = costs["ordinary", name]
        days = messages * median(cost.seconds / cost.messages for cost in each) / 86_400
        of_cores = messages * median(cost.cpu / cost.messages for cost in each) / 86_400
        yield f"| {name} | {days:.1f} | {of_cores:.1f} |"


def about(cores: int, place: Path) -> dict[str, str]:
    """On what it was measured."""

    def answer(*command: object) -> str:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": answer("git", "-C", FLOORS.parent, "describe", "--always", "--dirty"),
        "processor": f"{cores} of {len(models)} {next(iter(models), platform.machine())}",
        "load": f"{os.getloadavg()[0]:.1f} before",
        "file system": answer("stat", "-f", "-c", "%T", place),
        "Python": platform.python_version(),
        "openssl": answer("openssl", "version").partition(" (")[0],
    }


def options_given() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose name begins so")
    parser.add_argument("--mail", nargs="+", metavar="NAME", help="rows on this mail alone")
    parser.add_argument("--messages", type=int, default=5000, help="of ordinary mail")
    parser.add_argument("--many", type=int, default=10_000, help="of small mail")
    parser.add_argument("--large", type=int, default=250, help="megabytes of one large message")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="processors, and processes")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where to work")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    return parser.parse_args()


def plans_of(options: argparse.Namespace) -> Mapping[str, Plan]:
    """What each row may be computed on, by the name that the tables call the mail."""
    messages, many = options.messages, options.many
    rounds, cores = options.rounds, options.cores
    return {
        "ordinary": Plan("ordinary", messages, rounds, cores),
        "small": Plan("small", many, rounds, cores),
        "curve": Plan("curve", max(1, messages // 5), rounds, cores),
        "one core": Plan("ordinary", messages, 1, 1),
        "start": Plan("small", 10, rounds, cores),
        "few": Plan("small", 1000, rounds, cores),
        "many": Plan("small", many, 1, cores, watch=True),
        "large": Plan("large", options.large * 1_000_000, 1, cores, watch=True),
        "nothing": Plan("small", 1, 3 * rounds, cores),
    }


def main() -> None:
    """Runs what the command line asks for, and prints two tables."""
    options = options_given()
    plans = plans_of(options)
    rows = [
        row
        for row in ROWS
        if (not options.only or row.name.startswith(tuple(options.only)))
        and (not options.mail or row.plan in options.mail)
    ]
    compileall.compile_dir(FLOORS.parents[1] / "sectool", quiet=1)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        facts, run = about(options.cores, Path(name)), Run(plans, Path(name))
        start = time.monotonic()
        figures = run.go(rows)
        facts["minutes"] = f"{(time.monotonic() - start) / 60:.1f}"
        samples = list(run.samples())
    text = f"{', '.join(f'{name} {fact}' for name, fact in facts.items())}\n\n"
    text += tables(figures, samples)
    print(text)
    if options.into:
        put_into(options.into, "comparison", text)
    if options.json:
        options.json.write_text(json.dumps(as_json(facts, figures, samples), indent=1) + "\n")
    if any(figure.failed for figure in figures):
        sys.exit(1)


def as_json(
    facts: Mapping[str, str],
    figures: Iterable[Figure],
    samples: Iterable[tuple[str, str, list[Sample]]],
) -> dict[str, object]:
    """All figures of all rounds."""
    return {
        "about": facts,
        "rows": [
            {
                **{name: getattr(figure.row, name) for name in ("name", "plan", "must", "aim")},
                "failed": figure.failed,
                "median": median(figure.values) if figure.values else None,
                "values": figure.values,
                "by_processor_time": figure.by_cpu,
            }
            for figure in figures
        ],
        "commands": [
            {"plan": plan, "name": name, "rounds": [asdict(cost) for cost in costs]}
            for plan, name, costs in samples
        ],
    }


if __name__ == "__main__":
    main()
