"""A user acts on a real Dovecot while commands run and are killed: their last word counts.

F42-F45 and G10: afterwards each message is there once, where the user last put it, with the
flags they last set and the text it had; the server's log is clean.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.support import checker
from tests.support.busy_client import MARKS, BusyClient
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.faults import Fault, FaultyProcess
from tests.support.mailboxes import CLEAR, Keys, encrypted

MESSAGES = 9
STORIES = {
    "checkpoints": ("decrypt", "encrypt"),
    "in place": ("in place", "encrypt"),
    "exchange": ("rewrap",),
}
SEEDS = range(1, 13)
CODES = {0, 3, -9}
"""That a command may end with beside a user: some messages were not done, or it was killed."""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


@dataclass
class Commands:
    """What runs beside the user, one command after the other."""

    process: FaultyProcess
    place: Path
    maildir: Path
    keys: Keys
    chance: random.Random
    said: list[str] = field(default_factory=list)
    calls: int = 3000
    """About so many file calls a command makes."""

    def run(self, command: str, fault: Fault | None = None) -> int:
        job = ("--job", self.place / "job", "--workers=0")
        words: dict[str, tuple[object, ...]] = {
            "decrypt": ("decrypt", self.maildir, "--keys", self.keys.history, *job),
            "in place": ("decrypt", self.maildir, "--in-place", "--keys", self.keys.history, *job),
            "encrypt": ("encrypt", self.maildir, "--to", self.keys.new.certificate, *job),
            "rewrap": (
                *("rewrap", self.maildir, "--keys", self.keys.history),
                *("--to", self.keys.new.certificate, *job),
            ),
        }
        ended = self.process.command(words[command], self.place, fault=fault)
        assert "error of its own" not in ended.err, ended.err
        told = (ended.out + ended.err) if ended.code != 0 else ""
        self.said.append(f"{command}: {ended.code} {told}")
        return ended.code

    def run_beside(self, command: str, done: threading.Event) -> None:
        """Runs a command again and again, and kills it in two of three."""
        while not done.is_set():
            fault = None
            if self.chance.random() < 0.67:
                number = self.chance.randrange(1, self.calls)
                fault = Fault(act="kill", first=number, under=(self.maildir, self.place / "job"))
            self.run(command, fault)


def texts(maildir: Path, keys: Keys) -> dict[str, set[object]]:
    """What is in the messages, by their Message-ID."""
    found: dict[str, set[object]] = {}
    for mail in checker.stored_mail(maildir):
        digests = checker.inner_digests(mail.raw, [keys.old, keys.new])
        text: object = digests or mail.raw.partition(b"\n\n")[2]
        found.setdefault(str(message_from_bytes(mail.raw)["Message-ID"]), set()).add(text)
    return found


def lying(maildir: Path, keys: Keys) -> list[str]:
    """Each message, its folder, and to whom it is encrypted, for a person."""
    kinds = {True: "new", False: "old"}
    return [
        f"{message_from_bytes(mail.raw)['Message-ID']} {mail.folder or 'INBOX'} {mail.flags}"
        f" {[kinds[bool(checker.opened(e, keys.new))] for e in checker.envelopes(mail.raw)]}"
        for mail in checker.stored_mail(maildir)
    ]


# Budget: 15 seconds for the three of the sample.
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.all_only) for seed in SEEDS[1:])]
)
def test_the_last_word_of_a_busy_user_counts(
    story: str,
    seed: int,
    dovecot: Dovecot,
    faulty: FaultyProcess,
    keys: Keys,
    tmp_path: Path,
    whole: bool,
) -> None:
    def fresh(number: int) -> bytes:
        """Every other one is in clear."""
        identity = f"<{number}@example.org>".encode()
        clear = CLEAR.replace(b"<clear@example.org>", identity)
        return encrypted(number, keys.old) if number % 2 else clear

    noted = len(dovecot.complaints())
    client = BusyClient(dovecot.connect, random.Random(seed), fresh)
    client.empty()
    for number in range(MESSAGES):
        folder = client.folders[number % len(client.folders)]
        flags = frozenset(MARKS[: number % 3])
        client.append(f"<{number}@example.org>", encrypted(number, keys.old), folder, flags)
    client.append("<clear@example.org>", CLEAR, "INBOX", frozenset())
    before = texts(dovecot.maildir, keys)
    commands = Commands(faulty, tmp_path, dovecot.maildir, keys, random.Random(-seed))
    for command in STORIES[story]:
        done = threading.Event()
        running = threading.Thread(target=commands.run_beside, args=(command, done))
        running.start()
        try:
            for _ in range(100 if whole else 12):
                client.act()
        finally:
            done.set()
            running.join()
        codes = [commands.run(command) for _ in range(2)]
        said = [*commands.said, *lying(dovecot.maildir, keys)]
        told = "\n".join([f"{story}, seed {seed}, {client.acts}", *said])
        assert client.seen() == client.wanted(), told
        assert set(codes) <= CODES, told
        census = checker.census(dovecot.maildir)
        commands.run(command)
        assert checker.census(dovecot.maildir) == census, told
    now = texts(dovecot.maildir, keys)
    other = {
        name: now[name] for name in before if name in client.known and now[name] != before[name]
    }
    assert other == {}, f"{told}\n{ {name: client.known[name] for name in other} }"
    client.close()
    # A warning is the server's own: two acts of one client met in its list.
    complaints = [line for line in dovecot.complaints()[noted:] if ": Warning: " not in line]
    assert complaints == []
