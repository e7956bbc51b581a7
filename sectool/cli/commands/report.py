"""``sectool report``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from sectool.cli import options
from sectool.cli.options.paths import path_argument, path_option
from sectool.errors import UsageError

if TYPE_CHECKING:
    from sectool.cli.reporting.collect import Report
    from sectool.trust import Trust

EXAMPLE = "Example: sectool report /var/lib/sectool --html moves.html --csv moves.csv"

Directories = Annotated[
    list[Path],
    path_argument(metavar="DIR...", help="Job directory, or a directory with some in it."),
]
Html = Annotated[
    Path | None, path_option("--html", metavar="FILE", help="Write a page for a browser.")
]
Csv = Annotated[
    Path | None,
    path_option("--csv", metavar="FILE", help="Write a table for a spreadsheet: a row a mailbox."),
]
Messages = Annotated[
    Path | None,
    path_option("--messages", metavar="FILE", help="The same with a row a message not done."),
]


def report(
    directories: Directories,
    *,
    html: Html = None,
    csv: Csv = None,
    messages: Messages = None,
    trust_group: options.TrustGroup = None,
    manners: options.Manners,
) -> None:
    """Write what the logs of jobs hold as a page and as tables.

    One job or a thousand; no mailbox is looked at, and nothing is changed. A job
    whose log cannot be read is a line of the report with the reason.
    """
    from sectool import jobs

    trust = jobs.Trust.in_group(trust_group)
    made = _write(directories, (html, csv, messages), trust)
    _show(made, [path for path in (html, csv, messages) if path], manners)


def _write(
    directories: list[Path], paths: tuple[Path | None, Path | None, Path | None], trust: Trust
) -> Report:
    from sectool.cli.reporting import collect, page, tables

    if not any(paths):
        raise UsageError("nothing is to be written", hint="name --html, --csv or --messages FILE")
    if len(set(filter(None, paths))) < sum(path is not None for path in paths):
        raise UsageError("two outputs have one name", hint="give each a file of its own")
    with ExitStack() as stack:
        html, csv, messages = (_output(path, trust, stack) for path in paths)
        mailboxes = tables.Table(csv, tables.MAILBOX_COLUMNS)
        unfinished = tables.Table(messages, tables.MESSAGE_COLUMNS)
        made = collect.collect(
            collect.directories_of(directories),
            trust,
            lambda summary, one: unfinished.write(tables.message_row(summary, one)),
            lambda line: mailboxes.write(tables.mailbox_row(line)),
        )
        if html is not None:
            html.writelines(piece.encode() for piece in page.render(made))
        return made


def _output(path: Path | None, trust: Trust, stack: ExitStack) -> BinaryIO | None:
    """A private file that comes to its name once all of it is written."""
    from sectool import durable

    if path is None:
        return None
    stack.enter_context(durable.explained(f"write {path}", denied=UsageError))
    return stack.enter_context(durable.replacing(_place(path, trust), "report"))


def _place(path: Path, trust: Trust) -> Path:
    """Where a file may be written: in no place where another user could lead it elsewhere.

    Raises:
        UsageError: there is no such directory, or what has that name is no file.
        UnsafeDirectory: somebody else could change what leads there.
    """
    way = trust.walk(path.parent)
    if way.missing or not way.real.is_dir():
        raise UsageError(f"there is no directory {path.parent}", hint="make it first")
    real = way.real / path.name
    if real.is_symlink() or (real.exists() and not real.is_file()):
        raise UsageError(
            f"{path} is a link or no file, and is left as it is", hint="name another file"
        )
    trust.walk(real)
    return real


def _show(made: Report, written: list[Path], manners: options.Manners) -> NoReturn:
    from sectool.cli.shell import answer, envelope, report, tell
    from sectool.cli.words.layout import wrapped
    from sectool.cli.words.verdicts import Level

    code = next((error.exit_code for error in made.errors), 0)
    if manners.json:
        document = {
            "written": [str(path) for path in written],
            "jobs_read": len(made.read),
            "jobs_unreadable": len(made.errors),
            "verdict": {"good": made.level is Level.GOOD, "text": made.verdict},
        }
        answer({**envelope(code), **document})
    elif not manners.quiet:
        lines = [f"written   {path}" for path in written]
        report([*lines, "", *wrapped(f"verdict   {made.verdict}", indent=10)])
    for error in made.errors:
        tell(error)
    raise typer.Exit(code)
