"""What goes where: reports to standard output, all else to standard error, of every command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import SUMMARIES
from tests.support.checker import Key
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, make_key

Fixture = Any
ASIDE = re.compile(r"sectool: (warning|hint|error): .+")


def named(option: str, key: Key) -> list[object]:
    return [option, key.certificate, option, key.private_key]


class Story:
    """A mailbox, and for each command the words that come next in its life."""

    def __init__(self, keys: dict[str, Key], place: Path) -> None:
        old, new = keys["old"], keys["new"]
        self.mailbox, self.job = place / "Maildir", place / "job"
        mail = [encrypted(1, old), encrypted(2, keys["stranger"]), CLEAR]
        names = [f"cur/130000000{number}.M1P1.host:2,S" for number in range(3)]
        fill(self.mailbox, [Mail("", *one) for one in zip(names, mail, strict=True)])
        opening, job = named("--keys", old), ("--job", self.job)
        to, proof = ("--to", new.certificate), named("--verify-keys", new)
        self.commands: dict[str, tuple[object, ...]] = {
            "scan": (self.mailbox, *opening),
            "keys": (old.certificate, old.private_key, "--mailbox", self.mailbox),
            "decrypt": (self.mailbox, *opening, *job),
            "encrypt": (self.mailbox, *job, *to),
            "verify": (self.job, *proof, *named("--retire", old)),
            "rewrap": (self.mailbox, *opening, "--job", place / "renewal", *to),
            "rollback": (self.job,),
            "status": (self.job, place / "renewal"),
            "report": (self.job, place / "renewal", "--csv", place / "report.csv"),
            "purge": (self.job, "--dry-run"),
        }

    def words(self, command: str, *options: str) -> tuple[object, ...]:
        """A whole command line."""
        workers = () if command in {"status", "report"} else ("--workers=0",)
        return (command, *self.commands[command], *workers, *options)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    lengths = {"old": 1024, "stranger": 1024, "new": 2048}
    return {name: make_key(directory, name, bits=bits) for name, bits in lengths.items()}


@pytest.fixture
def story(keys: dict[str, Key], tmp_path: Path) -> Story:
    return Story(keys, tmp_path)


def test_every_command_but_the_demo_is_tried(story: Story) -> None:
    assert {*story.commands, "demo"} == set(SUMMARIES)


def test_a_report_is_all_of_standard_output_and_is_none_of_standard_error(
    run: Fixture, story: Story
) -> None:
    for command in story.commands:
        answer = run(*story.words(command))
        assert answer.code in {0, 3}, answer
        assert all(ASIDE.fullmatch(line) for line in answer.err.splitlines()), answer.err
        assert not ASIDE.search(answer.out), command
        assert command in {"scan", "keys"} or "\nverdict   " in answer.out, command


def test_with_json_standard_output_is_one_document_with_the_exit_code_and_warnings(
    run: Fixture, story: Story
) -> None:
    for command in story.commands:
        answer = run(*story.words(command, "--json"))
        document = answer.document
        assert document["exit_code"] == answer.code, command
        told = [one["message"] for one in document["warnings"]]
        said = re.findall("sectool: warning: (.*)", answer.err)
        assert [" ".join(text.split()) for text in told] == said, command


@pytest.mark.all_only
def test_a_quiet_command_reports_nothing(run: Fixture, story: Story) -> None:
    for command in story.commands:
        answer = run(*story.words(command, "--quiet"))
        assert answer.code in {0, 3}, answer
        assert (answer.out, answer.err) == ("", ""), command


def test_an_error_is_one_document_too_and_is_told_on_standard_error(
    run: Fixture, story: Story
) -> None:
    story.job.mkdir(mode=0o700)
    (story.job / "job.db").write_bytes(b"no log")
    story.mailbox.rename(story.mailbox.with_name("elsewhere"))
    for command in story.commands:
        answer = run(*story.words(command, "--json"))
        assert answer.document["exit_code"] == answer.code not in {0, 3}, command
        assert "sectool: error: " in answer.err
