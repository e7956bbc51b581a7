"""The benchmarks measure what they say: real mail, whole answers, and all processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import commands, compare
from benchmarks.commands import Round, WrongAnswer, put_into
from benchmarks.mail import BLOCK, MIXES, Mix, make_mail, plan
from benchmarks.measure import measured
from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State


@pytest.mark.parametrize("mix", MIXES)
def test_every_message_that_is_made_opens(tmp_path: Path, mix: str) -> None:
    mail = make_mail(tmp_path / "mail", mix, 20, processes=1)
    keys = KeySpecification((mail.old,))
    summary = jobs.run(jobs.Scan(mailbox=str(mail.maildir), keys=keys, workers=0))
    assert summary.counts == {State.READABLE: 20}
    assert summary.bytes == mail.size


@pytest.mark.parametrize("mix", MIXES.values())
def test_each_thousand_messages_cost_the_same_in_another_order(mix: Mix) -> None:
    first, second = plan(mix, 0), plan(mix, 1)
    assert first != second
    assert sorted(map(str, first)) == sorted(map(str, second))


def test_five_thousand_ordinary_messages_have_380_megabytes() -> None:
    encoded = sum(size * 77 // 57 + 1900 for size, _ in plan(MIXES["ordinary"], 0))
    assert encoded * 5000 / BLOCK == pytest.approx(380e6, rel=0.05)


def test_an_answer_that_misses_a_message_or_has_another_one_is_wrong(tmp_path: Path) -> None:
    mail = make_mail(tmp_path / "mail", "small", 3, processes=1)
    on = Round(mail, tmp_path / "round", 1)
    done = on.floor("decrypt")
    assert done.output == b"3\n"
    answers = on.directory / "decrypt"
    on.check("floor", answers, commands.file_digest)
    first, second, _ = sorted(answers.iterdir())
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(WrongAnswer, match="another content"):
        on.check("floor", answers, commands.file_digest)
    first.write_bytes(content)
    second.unlink()
    with pytest.raises(WrongAnswer, match="2 of 3"):
        on.check("floor", answers, commands.file_digest)


def test_a_command_that_fails_is_not_measured(tmp_path: Path) -> None:
    mail = make_mail(tmp_path / "mail", "small", 1, processes=1)
    (mail.maildir / "cur" / mail.names[0]).write_bytes(b"From: a@example.org\n\nMIAG\n")
    with pytest.raises(WrongAnswer):
        Round(mail, tmp_path / "round", 1).floor("decrypt")


BUSY = """
import os, sys, time
if os.fork():
    os._exit(0)
while time.process_time() < 0.2:
    pass
open(sys.argv[1], "w").write(str(time.process_time()))
"""


def test_a_process_that_nobody_waits_for_is_counted(tmp_path: Path) -> None:
    done = measured((sys.executable, "-c", BUSY, tmp_path / "spent"))
    assert done.cpu >= float((tmp_path / "spent").read_text()) > done.first


def test_a_step_is_run_once_in_a_round_and_every_row_finds_its_steps(tmp_path: Path) -> None:
    mail = make_mail(tmp_path / "mail", "small", 2, processes=1)
    on = Round(mail, tmp_path / "round", 1)
    assert on["floor of scan"] is on["floor of scan"]
    asked: list[str] = []

    def get(_plan: str, name: str) -> commands.Sample:
        asked.append(name)
        return commands.Sample(2 + len(asked), 1.0, 1.0 + len(asked), 0.5, 1.0)

    for row in compare.ROWS:
        row.value(get, row.plan)
    assert set(asked) <= set(commands.STEPS)


def test_a_page_keeps_all_but_what_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n")
    put_into(page, "x", "new\n")
    assert page.read_text() == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"
    with pytest.raises(ValueError, match="no place"):
        put_into(page, "y", "new\n")


def test_a_program_that_is_not_there_is_told_from_one_that_costs_nothing() -> None:
    assert measured(("no-such-program",)).code == -1
