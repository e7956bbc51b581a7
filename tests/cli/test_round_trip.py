"""The round trip that people fear, as an administrator types it, with a crash and a deletion."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import checker, crash
from tests.support.checker import Key
from tests.support.documents import parsed
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, make_key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: make_key(directory, name) for name in ("old", "new")}


Told = Callable[..., tuple[int, dict[str, int]]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Exit code and counts of one command, in a process of its own; no counts where it dies."""

    def told(*words: object, fault: str = "") -> tuple[int, dict[str, int]]:
        output = tmp_path / "output"
        command = [*map(str, words), "--workers", "0", "--json"]
        code = crash.command_in_child(command, output, fault=fault)
        if code < 0:
            return code, {}
        document: dict[str, Any] = parsed(output.read_text(encoding="utf-8"))
        assert sum(document["counts"].values()) == document["messages"]
        return code, document["counts"]

    return told


def copies_of(maildir: Path, number: int, key: Key) -> list[Path]:
    """Files of one message that a key opens."""
    wanted = b"Message-ID: <%d@example.org>" % number
    return [
        path
        for part in ("cur", "new")
        for path in (maildir / part).iterdir()
        if wanted in (raw := path.read_bytes())
        and any(checker.opened(envelope, key) for envelope in checker.envelopes(raw))
    ]


@pytest.mark.parametrize(
    ("deleted", "left", "code"),
    [(("old",), 5, 0), (("new",), 5, 0), (("old", "new"), 4, 3)],
    ids=["the old copy", "the new copy", "both copies"],
)
def test_the_round_trip_that_people_fear(
    deleted: tuple[str, ...], left: int, code: int, keys: dict[str, Key], tmp_path: Path, told: Told
) -> None:
    old, new = keys["old"], keys["new"]
    before, after, job = tmp_path / "before" / "Maildir", tmp_path / "after", tmp_path / "job"
    named = ("--keys", old.certificate, "--keys", old.private_key)
    opened = ("--verify-keys", new.certificate, "--verify-keys", new.private_key)
    encrypt = ("encrypt", after, "--job", job, "--to", new.certificate)
    mail = [Mail("", f"cur/130000000{n}.M{n}P1.host:2,S", encrypted(n, old)) for n in range(1, 6)]
    fill(before, [*mail, Mail("", "cur/1300000006.M6P1.host:2,", CLEAR)])

    # A week before: a first run over what is there.
    assert told("decrypt", before, *named, "--job", job) == (0, {"clear": 1, "checkpointed": 5})

    # A week of mail: one is deleted, one encrypted and one clear arrive.
    next((before / "cur").glob("1300000005*")).unlink()
    (before / "new" / "1400000001.M1P1.host").write_bytes(encrypted(7, old))
    (before / "new" / "1400000002.M2P1.host").write_bytes(CLEAR.replace(b"hello", b"later"))

    # The day itself: only what is new is opened.
    assert told("decrypt", before, *named, "--job", job) == (0, {"clear": 2, "checkpointed": 5})
    before.rename(after)

    # The machine dies while messages lie there twice, and the user deletes copies of one.
    assert told(*encrypt, fault="crash@maildir.retire.before") == (-signal.SIGKILL, {})
    assert len(copies_of(after, 2, old)) == len(copies_of(after, 2, new)) == 1
    for name in deleted:
        for path in copies_of(after, 2, keys[name]):
            path.unlink()

    # The same command goes on, and once more changes nothing.
    lost = {"lost": 5 - left} if left < 5 else {}
    assert told(*encrypt) == (code, {"clear": 2, "reencrypted": left, **lost})
    census = checker.census(after)
    assert told(*encrypt) == (code, {"clear": 2, "reencrypted": left, **lost})
    assert checker.census(after) == census

    assert told("verify", job, *opened) == (code, {"clear": 2, "verified": left, **lost})
    # What was never replaced keeps its checkpoint until a person gives it up: what
    # is lost, and what was deleted in the week before.
    assert told("purge", job) == (3, {"clear": 2, "verified": left, **lost})
    assert len(list((job / "checkpoints").glob("*.eml"))) == 5 - left + 1
    assert told("verify", job, *opened)[0] == code
    assert told("purge", job, "--abandon")[0] == code
    assert not list((job / "checkpoints").glob("*.eml"))

    remaining = [number for number in (1, 2, 3, 4, 7) if left == 5 or number != 2]
    assert [len(copies_of(after, number, new)) for number in remaining] == [1] * left
    assert all(not copies_of(after, number, old) for number in range(1, 8))
