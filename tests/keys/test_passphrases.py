"""Passphrases: every source is tried, in order, and people are not asked without need."""

from __future__ import annotations

import os
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
