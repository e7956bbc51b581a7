"""A job on a tree of .eml files: errors at every act, worker processes, moves between stores."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.crashpoints import install
from sectool.errors import ReadOnlyMailbox, SectoolError
from sectool.outcome import State
from tests.support import checker, crash
from tests.support.kinds import fill_kind, lose_first, url_of
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

Meanings = Counter[tuple[object, ...]]


def meanings(mailbox: Path, *keys: checker.Key) -> Meanings:
    return checker.meanings(mailbox, keys)


@pytest.fixture
def tree(sample: list[Mail], tmp_path: Path) -> Path:
    fill(tmp_path / "filled", sample)
    fill_kind(tmp_path / "mail", "eml", tmp_path / "filled")
    return tmp_path / "mail"


def fail_at(wanted: int, number: int) -> list[str]:
    """Lets the point of a number fail, counted over all of the store; answers those passed."""
    passed: list[str] = []

    def hook(name: str) -> None:
        if name.startswith("eml."):
            passed.append(name)
            if len(passed) == wanted:
                raise OSError(number, os.strerror(number))

    install(hook)
    return passed


SAMPLE = {"eml.place.before", "eml.ready.after", "eml.retire.after", "eml.discard-old.after"}


@pytest.mark.parametrize(
    "number",
    [
        errno.EIO,
        pytest.param(errno.EACCES, marks=pytest.mark.all_only),
        pytest.param(errno.ENOSPC, marks=pytest.mark.all_only),
    ],
)
def test_an_error_at_any_act_loses_nothing_and_the_next_run_ends_the_work(
    tree: Path, keys: Keys, specify: Specify, tmp_path: Path, number: int, whole: bool
) -> None:
    """Budget: 3 seconds, of all points 60."""
    mailbox = url_of("eml", tree)
    jobs.run(specify("decrypt", mailbox))
    pristine = tmp_path / "pristine"
    for name in ("mail", "job"):
        shutil.copytree(tmp_path / name, pristine / name)
    before = meanings(tree, keys.old)
    passed = fail_at(0, 0)
    jobs.run(specify("encrypt", mailbox))
    some = [passed.index(name) + 1 for name in SAMPLE]
    for wanted in range(1, len(passed) + 1) if whole else some:
        for name in ("mail", "job"):
            shutil.rmtree(tmp_path / name)
            shutil.copytree(pristine / name, tmp_path / name)
        fail_at(wanted, number)
        try:
            jobs.run(specify("encrypt", mailbox))
        except SectoolError:
            assert meanings(tree, keys.old, keys.new).total() == before.total(), wanted
        install(None)
        for retry in (False, True):
            jobs.run(specify("encrypt", mailbox, retry=retry))
        assert meanings(tree, keys.new) == before, (wanted, passed[wanted - 1])
        assert checker.waiting(tree) == 0, (wanted, passed[wanted - 1])


def test_what_was_brought_back_before_a_kill_is_not_brought_back_again(
    tree: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", url_of("eml", tree)))
    lose_first("eml", tree)
    spec = specify("encrypt", url_of("eml", tree), restore_lost=True)
    crash.killed_at(spec, "eml.place.after:5")
    assert len(list((tree / "Recovered").glob("*.eml"))) == 1
    assert jobs.run(spec).counts[State.REENCRYPTED] == 5
    assert len(list((tree / "Recovered").glob("*.eml"))) == 1


# --- from one store into another --------------------------------------------------------------

MOVES = [
    pytest.param("eml", "maildir", marks=pytest.mark.all_only),
    pytest.param("eml", "nested", marks=pytest.mark.all_only),
    ("nested", "eml"),
    pytest.param("nested", "maildir", marks=pytest.mark.all_only),
    pytest.param("maildir", "nested", marks=pytest.mark.all_only),
    pytest.param("maildir", "eml", marks=pytest.mark.all_only),
]


def made(directory: Path, name: str, kind: str, source: Path) -> Path:
    mailbox = directory / name
    if kind == "maildir":
        mail = [
            Mail(one.folder, f"cur/{number}.host:2,{one.flags}", one.raw)
            for number, one in enumerate(checker.stored_mail(source))
        ]
        fill(mailbox, mail)
    else:
        fill_kind(mailbox, kind, source)
    return mailbox


@pytest.mark.parametrize(("source", "target"), MOVES)
def test_a_job_goes_on_in_a_store_of_another_kind(
    sample: list[Mail], keys: Keys, specify: Specify, tmp_path: Path, source: str, target: str
) -> None:
    fill(tmp_path / "filled", sample)
    old = made(tmp_path, "old", source, tmp_path / "filled")
    assert jobs.run(specify("decrypt", url_of(source, old))).counts[State.CHECKPOINTED] == 5
    new = made(tmp_path, "new", target, old)
    before = meanings(new, keys.old)
    spec = specify("encrypt", url_of(target, new), workers=2)
    assert jobs.run(spec).counts[State.REENCRYPTED] == 5
    assert meanings(new, keys.new) == before
    assert jobs.run(specify("verify", url_of(target, new))).counts[State.REENCRYPTED] == 5
    assert jobs.run(specify("rollback", url_of(target, new))).counts[State.ROLLED_BACK] == 5
    assert meanings(new, keys.old) == before
    assert checker.waiting(new) == 0


def test_apple_mails_files_are_decrypted_and_their_export_is_encrypted(
    tree: Path, keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    apple = tmp_path / "V10"
    for path in tree.rglob("*.eml"):
        there = apple / path.relative_to(tree).with_suffix(".emlx")
        there.parent.mkdir(parents=True, exist_ok=True)
        raw = path.read_bytes()
        there.write_bytes(b"%d\n%b<plist></plist>\n" % (len(raw), raw))
    assert jobs.run(specify("decrypt", f"emlx:{apple}")).counts[State.CHECKPOINTED] == 5
    with pytest.raises(ReadOnlyMailbox, match="Apple Mail") as caught:
        jobs.run(specify("encrypt", f"emlx:{apple}"))
    assert caught.value.exit_code == 20
    before = meanings(tree, keys.old)
    assert jobs.run(specify("encrypt", f"eml:{tree}")).counts[State.REENCRYPTED] == 5
    assert meanings(tree, keys.new) == before


def test_line_ends_stay_as_they_lie(keys: Keys, specify: Specify, tmp_path: Path) -> None:
    raws = {
        "lf.eml": encrypted(1, keys.old),
        "crlf.eml": encrypted(2, keys.old).replace(b"\n", b"\r\n"),
    }
    for name, raw in raws.items():
        (tmp_path / "mail").mkdir(exist_ok=True)
        (tmp_path / "mail" / name).write_bytes(raw)
    jobs.run(specify("decrypt", f"eml:{tmp_path}/mail"))
    assert jobs.run(specify("encrypt", f"eml:{tmp_path}/mail")).counts[State.REENCRYPTED] == 2
    new = {name: (tmp_path / "mail" / name).read_bytes() for name in raws}
    assert b"\r" not in new["lf.eml"]
    assert new["crlf.eml"].count(b"\n") == new["crlf.eml"].count(b"\r\n")
    assert all(new[name] != raw for name, raw in raws.items())
