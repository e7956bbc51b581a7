"""verify --retire on the command line: one job or several, what is said and what is never said."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import run_app
from sectool.cli.words import retirement
from sectool.outcome import Identity, PublicKeyDigest, RecipientKey
from sectool.retirement import Answer, Claim, LookedAt
from sectool.summary import RetiredKey
from tests.support.checker import Key
from tests.support.documents import parsed
from tests.support.mailboxes import Mail, encrypted, fill, make_key

pytestmark = pytest.mark.filterwarnings("default")  # typer's own

Move = Callable[..., Path]
"""Moves a mailbox of one message, and puts further mail into it; answers its job directory."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: make_key(directory, name) for name in ("old", "new")}


def named(option: str, key: Key) -> list[str]:
    return [option, str(key.certificate), option, str(key.private_key)]


@pytest.fixture
def move(tmp_path: Path, keys: dict[str, Key]) -> Move:
    def move(name: str, *late: bytes) -> Path:
        maildir, job = tmp_path / name, tmp_path / f"{name}-job"
        fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys["old"]))])
        common = ["--job", str(job), "--workers", "0", "--quiet"]
        assert run_app(["decrypt", str(maildir), *named("--keys", keys["old"]), *common]) == 0
        to = ["--to", str(keys["new"].certificate), *named("--verify-keys", keys["new"])]
        assert run_app(["encrypt", *to, *common]) == 0
        for number, raw in enumerate(late):
            (maildir / "new" / f"150000000{number}.M9P1.host").write_bytes(raw)
        return job

    return move


@pytest.fixture
def verify(keys: dict[str, Key], capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def verify(*places: Path, code: int, json_: bool = True, words: tuple[str, ...] = ()) -> Any:
        opening = [*named("--verify-keys", keys["new"]), *named("--retire", keys["old"])]
        command = ["verify", *map(str, places), *opening, "--workers", "0", *words]
        capsys.readouterr()
        assert run_app([*command, *(["--json"] if json_ else [])]) == code
        told = capsys.readouterr()
        return parsed(told.out) if json_ else told.out

    return verify


def test_a_key_that_is_needed_ends_with_3_until_a_person_says_that_they_know(
    move: Move, verify: Callable[..., Any], keys: dict[str, Key], tmp_path: Path
) -> None:
    job = move("one", encrypted(2, keys["old"]))
    (key,) = verify(job, code=3)["retire"]
    assert (key["answer"], key["messages"], key["unclear"]) == ("needed", 1, [])
    (entry,) = key["needed"]
    assert (entry["folder"], entry["message_id"]) == ("INBOX", "<2@example.org>")
    assert entry["date"].startswith("2019-01-07")
    assert entry["settled_by"]
    known = tmp_path / "known"
    known.write_text(f"{entry['identity']}\n")
    document = verify(job, code=0, words=("--acknowledge", str(known)))
    assert document["retire"][0]["answer"] == "needed"


def test_what_was_given_up_is_said_in_verify_and_status(
    move: Move,
    verify: Callable[..., Any],
    keys: dict[str, Key],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = move("one", encrypted(2, keys["old"]))
    (key,) = verify(job, code=3)["retire"]
    file = tmp_path / "given-up"
    file.write_text(f"{key['needed'][0]['identity']} {key['public_key']} a newsletter\n")
    words = ("--give-up", str(file), "--acknowledge", str(tmp_path / "known"))
    (tmp_path / "known").write_text(f"{key['needed'][0]['identity']}\n")
    text = " ".join(verify(job, code=0, json_=False, words=words).split())
    said = "not needed here, but for 1 message given up on 20"
    assert said in text
    assert run_app(["status", str(job)]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert run_app(["status", str(job), "--json"]) == 0
    (told,) = parsed(capsys.readouterr().out)["retire"]
    assert told["answer"] == "not needed here"
    assert told["given_up"][0]["reason"] == "a newsletter"


def test_what_was_given_up_is_said_of_several_jobs_together(
    move: Move, verify: Callable[..., Any], keys: dict[str, Key], tmp_path: Path
) -> None:
    free, needing = move("free"), move("needing", encrypted(2, keys["old"]))
    (key,) = verify(needing, code=3)["retire"]
    file = tmp_path / "given-up"
    file.write_text(f"{key['needed'][0]['identity']} {key['public_key']} a newsletter\n")
    (key,) = verify(free, needing, code=3, words=("--give-up", str(file)))["retire"]
    assert key["answer"] == "not needed here"
    assert key["reason"].startswith("not needed here, but for 1 message given up on 20")
    text = " ".join(verify(free, needing, code=3, json_=False).split())
    assert text.count("but for 1 message given up on 20") == 2
    assert "called not needed here" not in text
    assert "needs this key, but for what was given up (looked at" in text


def test_over_several_jobs_a_key_is_needed_where_one_of_them_needs_it(
    move: Move, verify: Callable[..., Any], keys: dict[str, Key], tmp_path: Path
) -> None:
    free, needing = move("free"), move("needing", encrypted(2, keys["old"]))
    document = verify(free, needing, code=3)
    (key,) = document["retire"]
    assert key["answer"] == "needed"
    assert [one["answer"] for one in key["jobs"]] == ["not needed here", "needed"]
    assert [one["retire"][0]["answer"] for one in document["jobs"]] == ["not needed here", "needed"]
    assert document["jobs"][0]["looked_at"]["mailbox"].endswith("/free")
    text = verify(free, needing, code=3, json_=False)
    assert re.search(r"^CN=old.*needed +.*needing-job", text, re.MULTILINE)


def test_a_job_that_cannot_be_looked_at_makes_every_key_unclear(
    move: Move, verify: Callable[..., Any], tmp_path: Path
) -> None:
    (key,) = verify(move("free"), tmp_path / "no-job", move("other"), code=2)["retire"]
    assert key["answer"] == "unclear"
    assert [one["answer"] for one in key["jobs"]] == [
        *("not needed here", "unclear", "not needed here")
    ]


def test_a_second_word_that_is_no_job_is_where_the_mailbox_is_now(
    move: Move, verify: Callable[..., Any], tmp_path: Path
) -> None:
    job = move("before")
    (tmp_path / "before").rename(tmp_path / "after")
    document = verify(job, tmp_path / "after", code=0)
    assert document["mailbox"].endswith("/after")
    assert document["retire"][0]["answer"] == "not needed here"


def test_nothing_is_ever_said_of_destroying_a_key() -> None:
    root = Path(__file__).parents[2]
    texts = [*root.glob("docs/*.md"), root / "README.md", *root.glob("sectool/**/*.py")]
    for path in texts:
        assert "may be destroyed" not in path.read_text(encoding="utf-8"), path


def test_long_lists_end_for_a_person_and_not_for_a_program() -> None:
    claims = tuple(
        Claim(
            Answer.UNCLEAR,
            "it is cut off",
            "a backup",
            "INBOX",
            f"{number}.host",
            "",
            "",
            Identity(f"unread:{number:064x}"),
        )
        for number in range(50)
    )
    looked_at = LookedAt(
        "maildir:/home/alice/Maildir", 48_211, 14, datetime(2026, 12, 1, tzinfo=UTC)
    )
    key = RetiredKey(
        RecipientKey("CN=old", "0a", ""),
        "old.p12",
        PublicKeyDigest("cd" * 32),
        *(0, 50, (), looked_at, claims),
    )
    lines = list(retirement.as_table([key, key]))
    in_table = [line for line in lines if line.startswith("CN=old serial 0a")]
    assert len(in_table) == 2
    assert sum("it is cut off" in line for line in lines) == retirement.LISTED + len(in_table)
    assert "  and 30 more: --json lists them all" in lines
    for line in in_table:
        assert re.search("old.p12 +unclear [(]50 messages[)] +it is cut off", line)
