"""The typer application: one command a module of that name, loaded when it is asked for.

``sectool --help`` has to be quick, and most of its time went into options that it does
not show.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from sectool import __version__
from sectool.cli.help import Command
from sectool.cli.shell import carry_out, say, write
from sectool.errors import SectoolError, UsageError

# --- groups of options ----------------------------------------------------------------------------
# Typer reads options off a function's signature and knows no groups, so the fields of
# each group are spread over the signature that typer sees. Nobody compares or prints a
# group; made without those methods, ``--help`` is quicker.


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Spreads each parameter that is a dataclass into one parameter for each field.

    Args:
        command: its annotations name dataclasses, or what typer understands.

    Returns:
        A function with the name and docstring of ``command`` that takes the
        fields, makes the dataclasses and calls it.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if dataclasses.is_dataclass(kind):
            groups[parameter.name] = kind
            parameters.extend(_parameters(groups[parameter.name]))
        else:
            by_name = parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            parameters.append(by_name)

    def spreading(**values: Any) -> None:
        for name, kind in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(kind)}
            values[name] = kind(**fields)
        command(**values)

    spreading.__name__ = command.__name__
    spreading.__doc__ = command.__doc__
    spreading.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    spreading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return spreading


@cache  # evaluating annotations is what `--help` would wait for most
def _parameters(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


_ALWAYS = {0, 1, 2, 130, 143}
_LOG = {13, 21, 22}
_SERVER = {18, 19, 20}
_RUN = {3, 10, 11, 14, 17, *_LOG, *_SERVER}

EXIT_CODES: dict[str, set[int]] = {
    "scan": _ALWAYS | _SERVER | {3, 10, 12, 17, 22},
    "keys": _ALWAYS | _SERVER | {10, 12, 17, 22},
    "decrypt": _ALWAYS | _RUN | {12, 15, 16},
    "encrypt": _ALWAYS | _RUN | {12, 15, 16},
    "rewrap": _ALWAYS | _RUN | {12, 15},
    "status": _ALWAYS | _LOG,
    "report": _ALWAYS | _LOG | {17},
    "verify": _ALWAYS | _RUN | {12},
    "rollback": _ALWAYS | _RUN | {12, 16},
    "purge": _ALWAYS | _RUN | {12},
    "demo": _ALWAYS | {17, 22},
}
"""Of each command, every exit code that it can end with."""


def ending(command: str, example: str) -> str:
    """The last lines of a command's help.

    Args:
        command: its name.
        example: a line that begins with ``Example: sectool``.

    Returns:
        Two paragraphs: the exit codes with their meaning, and the example.
    """
    meanings = {0: "all done", **dict(_summaries(SectoolError))}
    codes = "; ".join(f"{code} {meanings[code]}" for code in sorted(EXIT_CODES[command]))
    return f"Exit codes: {codes}.\n\n{example}"


def _summaries(kind: type[SectoolError]) -> Iterator[tuple[int, str]]:
    yield kind.exit_code, kind.summary
    for narrower in kind.__subclasses__():
        yield from _summaries(narrower)


COMPLETION_VARIABLE = "_SECTOOL_COMPLETE"
"""Set by the completion script of the person's shell."""

SUMMARIES = {
    "scan": "Count what a mailbox holds, and change nothing.",
    "keys": "Show every key of a key history, and what could not be read.",
    "decrypt": "Before the move: write a plaintext checkpoint of all that opens.",
    "encrypt": "After the move: encrypt the mail of the job to the new keys.",
    "rewrap": "Exchange the recipients of encrypted mail; no plaintext on disk.",
    "status": "Show where a job stands, what is left, what failed and why.",
    "report": "Write what the logs of jobs hold as a page and as tables.",
    "verify": "Prove the mailbox against the job: what is there, lost or new.",
    "rollback": "Put the originals back.",
    "purge": "Remove checkpoints and originals that are no longer needed.",
    "demo": "Tell the whole story of a move on a copy of the sample mailbox.",
}
"""Every command with the first sentence of its own help."""


class _Commands(Mapping[str, Any]):
    """The commands by name, made when they are looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in SUMMARIES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


@cache
def _load(name: str) -> Any:
    module = importlib.import_module(f"sectool.cli.commands.{name}")
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(cls=Command, epilog=ending(name, module.EXAMPLE))(spread(getattr(module, name)))
    return typer.main.get_command(alone)


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]  # it is only looked into

    def format_commands(self, _context: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*SUMMARIES.items()])


app = typer.Typer(
    name="sectool",
    cls=_Group,
    epilog="Begin with: sectool demo",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(value: bool) -> None:  # typer's callback
    if value:
        write(f"sectool {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def sectool(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Move encrypted mail from one set of keys to another without losing a message."""
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(UsageError.exit_code)


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the words after ``sectool``; None: of this process.

    Returns:
        The exit code of the command contract.
    """
    return carry_out(_run, list(sys.argv[1:] if arguments is None else arguments))


def _run(words: list[str]) -> None:
    command = typer.main.get_command(app)
    if COMPLETION_VARIABLE in os.environ:
        command.main(words, prog_name="sectool")
    # Not main(): it answers interrupts in words of its own.
    with command.make_context("sectool", words) as context:
        command.invoke(context)
