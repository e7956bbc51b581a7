"""verify, rollback and purge on the command line: the document, the codes, the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import run_app
from tests.support.checker import Key
from tests.support.documents import parsed
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, make_key

pytestmark = pytest.mark.filterwarnings("default")  # typer's own


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: make_key(directory, name) for name in ("old", "new")}


@pytest.fixture
def job(tmp_path: Path, keys: dict[str, Key], capsys: pytest.CaptureFixture[str]) -> Path:
    mail = [
        Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys["old"])),
        Mail("", "cur/1300000002.M2P1.host:2,", CLEAR),
    ]
    fill(tmp_path / "Maildir", mail)
    mailbox, job = str(tmp_path / "Maildir"), str(tmp_path / "job")
    old = [*named("--keys", keys["old"]), "--workers", "0"]
    assert run_app(["decrypt", mailbox, "--job", job, *old, "--quiet"]) == 0
    to = ["--to", str(keys["new"].certificate), "--workers", "0", "--quiet"]
    assert run_app(["encrypt", "--job", job, *to]) == 0
    capsys.readouterr()
    return tmp_path / "job"


def named(option: str, key: Key) -> list[str]:
    return [option, str(key.certificate), option, str(key.private_key)]


def document(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    command = [str(word) for word in words]
    assert run_app([*command, "--workers", "0", "--json", "--quiet"]) == code
    answer: dict[str, Any] = parsed(capsys.readouterr().out)
    return answer


def test_verify_prints_the_document_with_job_and_phase(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = document(capsys, "verify", job)
    assert (answer["format"], answer["job"], answer["phase"]) == (2, str(job), "verify")
    assert answer["messages"] == 2
    assert answer["counts"] == {"clear": 1, "reencrypted": 1}
    assert "retire" not in answer


def test_nothing_is_all_done_that_waits_or_is_not_finished(
    keys: dict[str, Key], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"cur/130000000{number}.M1P1.host:2,S" for number in range(2)]
    fill(tmp_path / "Maildir", [Mail("", name, encrypted(1, keys["old"])) for name in names])
    job = tmp_path / "job"
    document(capsys, "decrypt", tmp_path / "Maildir", "--job", job, *named("--keys", keys["old"]))
    verdict = document(capsys, "verify", job)["verdict"]
    text = "all 2 decrypted messages are here, none is encrypted yet"
    assert verdict == {"good": False, "text": text}
    document(capsys, "encrypt", "--job", job, "--to", keys["new"].certificate, "--limit", 1)
    verdict = document(capsys, "verify", job, code=3)["verdict"]
    assert not verdict["good"]
    assert verdict["text"].startswith("0 of 2 proven with the new key; 1 not yet encrypted; ")
    assert run_app(["status", str(job), "--json"]) == 0
    verdict = parsed(capsys.readouterr().out)["verdict"]
    assert not verdict["good"]
    assert verdict["text"].startswith("encrypt is not finished; 1 message not encrypted to")
    document(capsys, "encrypt", "--job", job, "--to", keys["new"].certificate)
    verdict = document(capsys, "verify", job)["verdict"]
    assert verdict["text"].endswith("this run opened nothing, so it is no proof: --verify-keys is")


def test_retire_names_each_key_its_file_and_what_was_looked_at(
    job: Path, keys: dict[str, Key], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*named("--verify-keys", keys["new"]), *named("--retire", keys["old"])]
    answer = document(capsys, "verify", job, *words)
    (key,) = answer["retire"]
    assert key["messages"] == 0
    assert key["answer"] == "not needed here"
    assert key["file"] in {"old.crt", "old.key"}
    assert (answer["looked_at"]["messages"], answer["looked_at"]["folders"]) == (2, 2)
    assert "backups" in answer["looked_at"]["not_looked_at"]
    assert key["issuer"] == "CN=old,O=Example"
    assert key["serial_number"]


def test_purge_tells_what_would_go_and_what_went(
    job: Path, keys: dict[str, Key], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["purge", job, *named("--verify-keys", keys["new"])]
    rehearsed = document(capsys, *words, "--dry-run")["purged"]
    assert (rehearsed["checkpoints"], rehearsed["originals"], rehearsed["kept"]) == (1, 1, 0)
    answer = document(capsys, *words)
    assert answer["purged"] == rehearsed
    assert answer["counts"] == {"clear": 1, "verified": 1}
    assert answer["job_data_removed"] == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--older-than", "30d"), 0),
        (("--older-than", "30d", "--accept-unproven"), 2),
        (("--older-than", "30d", "--accept-unproven", "--yes"), 0),
        (("--older-than", "30d", "--accept-unproven", "--dry-run"), 0),
        (("--older-than", "30d", "--abandon", "--yes"), 2),
        (("--older-than", "30"), 2),
        (("--older-than", "0d"), 2),
    ],
)
def test_nothing_unproven_goes_by_its_age_while_nobody_looks(
    words: tuple[str, ...], code: int, job: Path, keys: dict[str, Key], monkeypatch: Any
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    before = sorted(job.rglob("*.eml"))
    proof = named("--verify-keys", keys["new"])
    assert run_app(["purge", str(job), *proof, "--workers", "0", *words]) == code
    assert sorted(job.rglob("*.eml")) == before


def test_rollback_closes_the_job_to_encrypt(
    job: Path, keys: dict[str, Key], capsys: pytest.CaptureFixture[str]
) -> None:
    assert document(capsys, "rollback", job)["counts"] == {"clear": 1, "rolled-back": 1}
    to = ["--to", str(keys["new"].certificate)]
    error = document(capsys, "encrypt", "--job", job, *to, code=2)["error"]
    assert error["code"] == 2
    assert "sectool decrypt" in error["hint"]


def test_a_rollback_says_that_the_old_keys_are_needed(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["rollback", str(job), "--workers", "0"]) == 0
    assert "needs the old keys again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "rollback", "purge"])
def test_help_ends_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: sectool {command}" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["verify", "rollback", "purge"])
def test_what_is_no_job_directory_is_usage(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document(capsys, command, tmp_path, code=2)


def test_tables_tell_a_person_the_same(
    job: Path, keys: dict[str, Key], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*named("--verify-keys", keys["new"]), *named("--retire", keys["old"])]
    assert run_app(["verify", str(job), *words, "--workers", "0"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "needs this key (looked at 2 messages in 2 folders on 20" in told
    assert "not looked at: other mailboxes, shared folders, backups, holds, files" in told
    assert "destroyed" not in told
    assert run_app(["purge", str(job), "--workers", "0"]) == 0
    assert "1 checkpoints, 1 originals" in capsys.readouterr().out
