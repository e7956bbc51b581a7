"""Passphrases: every source is tried, in order, and people are not asked without need."""

from __future__ import annotations

import io
import os
import shlex
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sectool.errors import PassphraseError, UsageError
from sectool.keys.loading import load_key_history
from sectool.keys.passphrases import Passphrases
from sectool.keys.specification import KeySpecification

Encode = Callable[..., bytes]


@pytest.fixture
def shut(small_rsa_key: PrivateKeyTypes, encode: Encode, tmp_path: Path) -> Path:
    """A key file with the passphrase ``open, sesame``."""
    path = tmp_path / "keys" / "alice.pem"
    path.parent.mkdir()
    path.write_bytes(encode(small_rsa_key, "open, sesame", pem=True))
    return path


TABLES = {
    "file name": 'alice.pem,"open, sesame"\n',
    "no quotes": "alice.pem,open, sesame\n",
    "path from the table": 'keys/alice.pem,"open, sesame"\r\n',
    "absolute path": '{path},"open, sesame"\n',
    "another folder": 'elsewhere/alice.pem,"open, sesame"\n',
    "byte order mark": '\ufeffalice.pem,"open, sesame"\n',
    "several rows": 'alice.pem,wrong\nbob.pem,x\n\nalice.pem,"open, sesame"\n',
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_row_of_the_table_opens_its_file(table: str, shut: Path, tmp_path: Path) -> None:
    """B83."""
    path = tmp_path / "table.csv"
    path.write_text(table.format(path=shut), encoding="utf-8")
    assert len(load_key_history(KeySpecification((shut,), passphrases=path))) == 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nsecond line\n"])
def test_the_first_line_of_the_passphrase_file_opens(end: str, shut: Path, tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(f"open, sesame{end}".encode())
    assert len(load_key_history(KeySpecification((shut,), path))) == 1


def test_the_environment_opens(shut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECTOOL_PASSPHRASE", "open, sesame")
    assert len(load_key_history(KeySpecification((shut,)))) == 1


def test_sources_are_tried_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, file = tmp_path / "t.csv", tmp_path / "f"
    table.write_text("keys/a.pem,by path\na.pem,by name\n", encoding="utf-8")
    file.write_text("from the file\n", encoding="utf-8")
    monkeypatch.setenv("SECTOOL_PASSPHRASE", "from the environment")
    sources = Passphrases(KeySpecification((), file, table), ask=lambda _: "from a person")
    expected = ["by path", "by name", "from the file", "from the environment", "", "from a person"]
    assert list(sources.of(tmp_path / "keys" / "a.pem")) == expected


def test_a_person_is_asked_by_file_name_three_times_at_most(shut: Path) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return f"guess {len(asked)}"

    with pytest.raises(PassphraseError, match="damaged"):
        load_key_history(KeySpecification((shut,)), ask)
    assert asked == [str(shut)] * 3


def test_an_empty_answer_gives_up_at_once(shut: Path) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return ""

    with pytest.raises(PassphraseError, match="needs a passphrase"):
        load_key_history(KeySpecification((shut,)), ask)
    assert len(asked) == 1


def test_one_answer_serves_all_files_it_opens(shut: Path) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return "open, sesame"

    for name in ("b.pem", "c.pem"):
        (shut.parent / name).write_bytes(shut.read_bytes() + name.encode())
    history = load_key_history(KeySpecification((shut.parent,)), ask)
    assert len(asked) == 1
    assert history.problems == ()


def test_nobody_is_asked_for_a_file_that_is_open(
    small_rsa_key: PrivateKeyTypes, encode: Encode, tmp_path: Path
) -> None:
    path = tmp_path / "open.pem"
    path.write_bytes(encode(small_rsa_key, pem=True))

    def ask(name: str) -> str:
        raise AssertionError(name)

    assert len(load_key_history(KeySpecification((path,)), ask)) == 1


@pytest.mark.parametrize("field", ["passphrase_file", "passphrases"])
def test_a_missing_passphrase_file_is_a_usage_error(field: str, shut: Path, tmp_path: Path) -> None:
    missing: dict[str, Any] = {field: tmp_path / "missing"}
    with pytest.raises(UsageError, match="cannot be read"):
        load_key_history(replace(KeySpecification((shut,)), **missing))


def test_a_latin_1_passphrase_file_opens(
    small_rsa_key: PrivateKeyTypes, encode: Encode, tmp_path: Path
) -> None:
    key, file = tmp_path / "k.pem", tmp_path / "f"
    key.write_bytes(encode(small_rsa_key, "Grüße", pem=True))
    file.write_bytes("Grüße\n".encode("latin-1"))
    assert len(load_key_history(KeySpecification((key,), file))) == 1


def test_a_pipe_is_read_once_and_serves_every_question(shut: Path, tmp_path: Path) -> None:
    """As a shell gives it: ``--passphrase-file <(command)``."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("open, sesame\n",))
    writer.start()
    specification = KeySpecification((shut,), passphrase_file=pipe)
    assert [len(load_key_history(specification)) for _ in range(2)] == [1, 1]
    writer.join()


SPREADSHEETS: dict[str, bytes] = {
    "semicolons": b'alice.pem;"open, sesame"\r\n',
    "semicolons, no quotes": b"alice.pem;open, sesame\r\n",
    "semicolons, header and empty cells": b"Datei;Kennwort;\r\nalice.pem;open, sesame;;\r\n",
    "semicolons, a remark": b"alice.pem;open, sesame;of 2019\r\n",
    "tabs in UTF-16": "alice.pem\topen, sesame\r\n".encode("utf-16"),
    "big-endian UTF-16": b"\xfe\xff" + "alice.pem;open, sesame\r\n".encode("utf-16-be"),
    "a mark before a quote": b'\xef\xbb\xbf"alice.pem";"open, sesame"\r\n',
    "a separator of its own": b'sep=;\r\nalice.pem;"open, sesame"\r\n',
    "a comma in another name": b"Smith, Alice.pem;x\r\nalice.pem;open, sesame\r\n",
    "a quote without end before": b'bob.pem;"x\r\nalice.pem;open, sesame\r\n',
    "several rows": b"alice.pem;wrong\r\nalice.pem;also wrong\r\nalice.pem;open, sesame\r\n",
}


@pytest.mark.parametrize("table", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_a_table_of_a_spreadsheet_opens_its_file(table: bytes, shut: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(table)
    assert len(load_key_history(KeySpecification((shut,), passphrases=path))) == 1


@pytest.mark.parametrize("passphrase", ['"', 'a"b', "a;b", "a,b", ";,", '"quoted"', " spaced "])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_passphrase_of_separators_and_quotes_needs_no_quoting(
    separator: str, passphrase: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"a.p12{separator}{passphrase}\n", encoding="utf-8")
    assert passphrase in list(Passphrases(KeySpecification((), passphrases=path)).of(Path("a.p12")))


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was read or asked for before."""
    monkeypatch.setattr("sectool.keys.passphrases._from_pipes", {})
    monkeypatch.setattr("sectool.keys.passphrases._from_commands", {})


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("field", "content"),
    [("passphrase_file", b"open, sesame\n"), ("passphrases", b"alice.pem;open, sesame\n")],
)
def test_standard_input_serves_every_question(
    *, field: str, content: bytes, shut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    named: dict[str, Any] = {field: Path("-")}
    specification = replace(KeySpecification((shut,)), **named)
    assert [len(load_key_history(specification)) for _ in range(2)] == [1, 1]


def test_standard_input_cannot_be_two_things(shut: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the passphrase file and the table"):
        load_key_history(KeySpecification((shut,), Path("-"), Path("-")))


@pytest.mark.usefixtures("_fresh")
def test_a_terminal_is_not_read_where_it_shows_what_is_typed(
    shut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0), os.fdopen(follower, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(UsageError, match="is a terminal"):
            load_key_history(KeySpecification((shut,), Path("-")))


def command(code: str) -> str:
    """Runs a line of Python."""
    return shlex.join([sys.executable, "-c", code])


def by_command(shut: Path, line: str) -> int:
    return len(load_key_history(KeySpecification((shut,), passphrase_command=line)))


@pytest.mark.usefixtures("_fresh")
def test_the_first_line_that_a_command_prints_opens(shut: Path) -> None:
    assert by_command(shut, command("print('open, sesame'); print('second line')")) == 1


@pytest.mark.usefixtures("_fresh")
def test_a_command_runs_once(shut: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    line = command(f"open({str(told)!r}, 'a').write('x'); print('open, sesame')")
    assert [by_command(shut, line) for _ in range(2)] == [1, 1]
    assert told.read_text(encoding="utf-8") == "x"


@pytest.mark.usefixtures("_fresh")
def test_no_shell_reads_a_command(shut: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(PassphraseError):
        by_command(shut, f"echo $HOME; touch {made}")
    assert not made.exists()


FAILING = {
    "fails": (command("raise SystemExit(3)"), "failed with code 3"),
    "is killed": (command("import os; os.kill(os.getpid(), 15)"), "ended by signal 15"),
    "prints nothing": (command(""), "printed no passphrase"),
    "prints an empty line": (command("print(); print('second')"), "printed no passphrase"),
    "is not there": ("/nowhere/hunter2", "cannot be run: no such file or directory"),
    "has no name": ("'a\0b'", "cannot be run"),
}


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(("line", "reason"), FAILING.values(), ids=FAILING)
def test_a_command_that_gives_no_passphrase_ends_the_run(
    line: str, reason: str, shut: Path
) -> None:
    with pytest.raises(PassphraseError, match=reason) as caught:
        by_command(shut, line)
    assert caught.value.exit_code == 12
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("line", ["pass 'show", " ' "])
def test_a_command_that_is_no_list_of_words_is_a_usage_error(line: str, shut: Path) -> None:
    with pytest.raises(UsageError, match="quotation without end"):
        by_command(shut, line)


@pytest.mark.usefixtures("_fresh")
def test_an_empty_command_is_a_usage_error(shut: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        by_command(shut, "  ")
