"""Where passphrases of key files come from, and in which order they are tried.

For each file: its row of the CSV, the passphrase file, the environment, none,
what a person answered for files before, and last the person. Passphrases stay
in memory and never enter an error text.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from sectool.errors import UsageError, reason_of
from sectool.keys.limits import MAXIMUM_PASSPHRASE_FILE_BYTES, MAXIMUM_QUESTIONS
from sectool.keys.specification import KeySpecification

ENVIRONMENT_VARIABLE = "SECTOOL_PASSPHRASE"

Ask = Callable[[str], str]
"""Asks a person for the passphrase of the file with this name; an empty answer gives up."""


class Passphrases:
    """All passphrases of one run.

    Args:
        specification: names the passphrase file and the CSV; its paths are not used.
        ask: None where nobody can be asked.

    Raises:
        UsageError: the passphrase file or the CSV cannot be read.
    """

    def __init__(self, specification: KeySpecification, ask: Ask | None = None) -> None:
        self._by_path: dict[Path, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
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
        text = read_text(specification.passphrase_file, "the passphrase file")
        # Not splitlines: a passphrase may hold a form feed or a line separator.
        found.append(text.partition("\n")[0].removesuffix("\r"))
    if ENVIRONMENT_VARIABLE in os.environ:
        found.append(os.environ[ENVIRONMENT_VARIABLE])
    return found


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        for row in csv.reader(io.StringIO(read_text(path, "the table of passphrases"), newline="")):
            if len(row) > 1 and row[0].strip():
                # A passphrase with commas is often written without quotes.
                yield row[0].strip(), ",".join(row[1:])
    except csv.Error as error:
        raise UsageError(
            f"the table of passphrases {path} is not CSV",
            hint="one line for each file: file name, comma, passphrase",
        ) from error


_from_pipes: dict[Path, bytes] = {}
"""What came through pipes, which can be read once; a run may ask for it more than once."""


def _read_once(path: Path) -> bytes:
    if path in _from_pipes:
        return _from_pipes[path]
    with path.open("rb") as stream:
        raw = stream.read(MAXIMUM_PASSPHRASE_FILE_BYTES + 1)
        if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            _from_pipes[path] = raw
    return raw


def read_text(path: Path, what: str) -> str:
    """A file or pipe with secrets: UTF-8 with or without a byte order mark, else Latin-1.

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
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links
