"""Where passphrases of key files come from, and in which order they are tried.

For each file: its rows of the CSV, the passphrase file, the command, the environment,
none, what a person answered for files before, and last the person. Passphrases stay
in memory and never enter an error text.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sectool.errors import PassphraseError, SectoolError, UsageError, reason_of
from sectool.hardening import environment_for_others
from sectool.keys.limits import MAXIMUM_PASSPHRASE_FILE_BYTES, MAXIMUM_QUESTIONS
from sectool.keys.specification import KeySpecification
from sectool.trust import open_named

ENVIRONMENT_VARIABLE = "SECTOOL_PASSPHRASE"
STANDARD_INPUT = Path("-")
"""What names standard input in place of a file."""
_SEPARATORS = (",", ";", "\t")
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Ask = Callable[[str], str]
"""Asks a person for the passphrase of the file with this name; an empty answer gives up."""


class Passphrases:
    """All passphrases of one run.

    Args:
        specification: names the passphrase file and the CSV; its paths are not used.
        ask: None where nobody can be asked.

    Raises:
        UsageError: the passphrase file or the CSV cannot be read.
        PassphraseError: the passphrase command fails.
    """

    def __init__(self, specification: KeySpecification, ask: Ask | None = None) -> None:
        self._by_path: dict[Path, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        if specification.passphrases == specification.passphrase_file == STANDARD_INPUT:
            raise UsageError(
                "standard input cannot be the passphrase file and the table of passphrases",
                hint="write one of them into a file",
            )
        if specification.passphrases is not None:
            self._read_table(specification.passphrases)
        self._for_every_file = _for_every_file(specification)
        self._answered: list[str] = []
        self._ask = ask

    def _read_table(self, path: Path) -> None:
        for name, passphrase in _rows(path):
            # A relative path may have been meant from here or from where the table lies.
            for base in {Path(), path.parent} if len(Path(name).parts) > 1 else ():
                self._by_path.setdefault(_absolute(base / name), []).append(passphrase)
            self._by_name.setdefault(Path(name).name, []).append(passphrase)

    def of(self, path: Path) -> FilePassphrases:
        """What to try on one file, in order."""
        known = [
            *self._by_path.get(_absolute(path), ()),
            *self._by_name.get(path.name, ()),
            *self._for_every_file,
            "",
            *self._answered,
        ]
        ask = self._ask
        question = None if ask is None else lambda: ask(str(path))
        return FilePassphrases(known, question, self._answered)


class FilePassphrases:
    """Passphrases for one file; iterating again begins with the one that worked last.

    A person is asked only when all known ones were tried, and a few times at most.
    """

    def __init__(
        self,
        known: list[str],
        ask: Callable[[], str] | None = None,
        answered: list[str] | None = None,
    ) -> None:
        self._known = list(dict.fromkeys(known))
        self._ask = ask
        self._answered = [] if answered is None else answered
        self._questions = 0

    def __iter__(self) -> Iterator[str]:
        tried: set[str] = set()
        for passphrase in tuple(self._known):
            tried.add(passphrase)
            yield passphrase
        while (answer := self._answer()) is not None:
            if answer not in tried:
                tried.add(answer)
                yield answer

    def _answer(self) -> str | None:
        if self._ask is None or self._questions >= MAXIMUM_QUESTIONS:
            return None
        self._questions += 1
        answer = self._ask()
        if not answer:
            self._questions = MAXIMUM_QUESTIONS
            return None
        self._known.append(answer)
        return answer

    def worked(self, passphrase: str) -> None:
        """Remembers what opened something, for the rest of this file and the files after it."""
        self._known.remove(passphrase)
        self._known.insert(0, passphrase)
        if passphrase and passphrase not in self._answered:
            self._answered.append(passphrase)

    @property
    def given(self) -> bool:
        """Whether there is any passphrase that is not empty."""
        return any(self._known)


def _for_every_file(specification: KeySpecification) -> list[str]:
    found = []
    if specification.passphrase_file is not None:
        found.append(first_line(read_text(specification.passphrase_file, "the passphrase file")))
    if specification.passphrase_command:
        command = specification.passphrase_command
        found.append(answer_of_command(command, "passphrase", PassphraseError))
    if ENVIRONMENT_VARIABLE in os.environ:
        found.append(os.environ[ENVIRONMENT_VARIABLE])
    return found


def first_line(text: str) -> str:
    """What is the secret in a file that holds one."""
    # Not splitlines: a passphrase may hold a form feed or a line separator.
    return text.partition("\n")[0].removesuffix("\r")


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """What each row may mean, whatever its separator is: a reading that is wrong names no file.

    Spreadsheets write the separator of their country, quote what holds it, and add
    empty cells. A passphrase with separators or quotes is often written as it is.
    """
    text = read_text(path, "the table of passphrases")
    try:
        for separator in _SEPARATORS:
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
                if len(row) > 1 and row[0].strip():
                    yield row[0].strip(), separator.join(row[1:])
                    yield row[0].strip(), row[1]
    except csv.Error as error:
        raise UsageError(
            f"the table of passphrases {path} is not CSV",
            hint="one line for each passphrase: file name, comma or semicolon, passphrase",
        ) from error
    for line in text.split("\n"):
        for separator in _SEPARATORS:
            name, found, passphrase = line.removesuffix("\r").partition(separator)
            if found and name.strip():
                yield name.strip(), passphrase


def answer_of_command(
    command: str, what: str, failed: type[SectoolError], *, again: bool = False
) -> str:
    """The first line of what a command prints; it talks to the person at the terminal itself.

    No shell is between: the words are taken apart as a shell does, and nothing else.

    Args:
        command: as a person wrote it.
        what: it prints, for the errors.
        failed: the kind of error where it does not.
        again: run it although it was run before, since its answer is good for a time only.

    Raises:
        UsageError: the command is no list of words.
        SectoolError: ``failed``: it cannot be run, fails, or prints nothing.
    """
    if command in _from_commands and not again:
        return _from_commands[command]
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"the {what} command has a quotation without end", hint="quote it as for a shell"
        ) from error
    hint = f"it has to print the {what} as its first line, and to end with 0"
    if not words:
        raise UsageError(f"the {what} command is empty", hint=hint)
    try:
        with subprocess.Popen(  # noqa: S603
            words, stdout=subprocess.PIPE, env=environment_for_others()
        ) as process:
            assert process.stdout is not None
            printed = process.stdout.read(MAXIMUM_PASSPHRASE_FILE_BYTES)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no such name"
        raise failed(f"the {what} command cannot be run: {reason}", hint=hint) from error
    code = process.returncode
    if code:
        how = f"failed with code {code}" if code > 0 else f"was ended by signal {-code}"
        raise failed(f"the {what} command {how}", hint=hint)
    answer = first_line(_decoded(printed))
    if not answer:
        raise failed(f"the {what} command printed no {what}", hint=hint)
    _from_commands[command] = answer
    return answer


_from_commands: dict[str, str] = {}
"""What commands printed; a run may ask for it more than once, and a person only once."""
_from_pipes: dict[Path, bytes] = {}
"""What came through pipes, which can be read once; a run may ask for it more than once."""


def _read_once(path: Path) -> bytes:
    if path in _from_pipes:
        return _from_pipes[path]
    if path == STANDARD_INPUT:
        _from_pipes[path] = _read_standard_input()
        return _from_pipes[path]
    with open(path, "rb", opener=open_named) as stream:
        raw = stream.read(MAXIMUM_PASSPHRASE_FILE_BYTES + 1)
        if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            _from_pipes[path] = raw
    return raw


def _read_standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "standard input is a terminal, which would show what you type",
            hint="leave the option out, and you are asked",
        )
    return sys.stdin.buffer.read(MAXIMUM_PASSPHRASE_FILE_BYTES + 1)


def read_text(path: Path, what: str) -> str:
    """A file, pipe or ``-`` with secrets: UTF-8, or UTF-16 with a mark, else Latin-1.

    Raises:
        UsageError: it cannot be read, or is too large; says ``what`` it was to be.
    """
    try:
        raw = _read_once(path)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no such name"
        raise UsageError(
            f"{what} {path} cannot be read: {reason}", hint="check the path, the owner and the mode"
        ) from error
    if len(raw) > MAXIMUM_PASSPHRASE_FILE_BYTES:
        raise UsageError(f"{what} {path} is too large", hint="check the path")
    return _decoded(raw)


def _decoded(raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith(_UTF_16_MARKS) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links
