"""A user acts on a mailbox of a real Dovecot beside commands that are killed; then it is judged."""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

from sectool.errors import NoSpace
from tests.support import checker
from tests.support.busy_client import MARKS, BusyClient
from tests.support.dovecot import Dovecot
from tests.support.faults import Fault, FaultyProcess
from tests.support.mailboxes import CLEAR, Keys, encrypted

MESSAGES = 9
STORIES = {
    "checkpoints": ("decrypt", "encrypt"),
    "in place": ("in place", "encrypt"),
    "exchange": ("rewrap",),
}
CODES = {0, 3}
"""That a command may end with beside a user: some messages were not done."""
KILLED = -9

LOOKS = 5
"""Times the server is asked what it shows."""


@dataclass
class Commands:
    """What runs beside the user, one command after the other."""

    process: FaultyProcess
    place: Path
    """For what they say."""
    job: Path
    maildir: Path
    keys: Keys
    chance: random.Random
    said: list[str] = field(default_factory=list)
    kills: int = 0
    full: int = 0
    """Runs that ended since there was no space."""
    calls: int = 1500
    """About so many file calls a command makes."""

    def run(self, command: str, fault: Fault | None = None) -> int:
        job = ("--job", self.job, "--workers=0")
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
        assert "internal error in sectool" not in ended.err, ended.err
        told = (ended.out + ended.err) if ended.code != 0 else ""
        self.said.append(f"{command}: {ended.code} {told}")
        self.kills += ended.code == KILLED
        self.full += ended.code == NoSpace.exit_code
        return ended.code

    def run_beside(self, command: str, done: threading.Event, codes: set[int]) -> None:
        """Runs a command again and again, and kills it in two of three."""
        while not done.is_set():
            fault = None
            if self.chance.random() < 0.67:
                number = self.chance.randrange(1, self.calls)
                fault = Fault(act="kill", first=number, under=(self.maildir, self.job))
            codes.add(self.run(command, fault))


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
        f" {mail.base_name}"
        for mail in checker.stored_mail(maildir)
    ]


@contextmanager
def nothing_beside() -> Iterator[AbstractContextManager[object]]:
    yield nullcontext()


@dataclass
class BusyStory:
    """One mailbox, its user, and the commands of a story.

    Args:
        dovecot: whose mailbox it is; what is in it goes.
        process: runs the commands.
        keys: of the user.
        place: for what commands say.
        job: the job's directory.
        seed: of the user's acts and of the kills.
        beside: entered while the user acts, such as what fills the disk; gives what is held while
            that is not.
    """

    dovecot: Dovecot
    process: FaultyProcess
    keys: Keys
    place: Path
    job: Path
    seed: int
    beside: Callable[[], AbstractContextManager[AbstractContextManager[object]]] = nothing_beside

    def tell(self, story: str, acts: int) -> Commands:
        """Tells a story, and judges what there is after each of its commands.

        Raises:
            AssertionError: the user's last word did not count.
        """
        noted = len(self.dovecot.complaints())
        chance = random.Random(self.seed)
        client = BusyClient(self.dovecot.connect, self.dovecot.maildir, chance, self._fresh)
        self._fill(client)
        maildir, keys = self.dovecot.maildir, self.keys
        before = texts(maildir, keys)
        chance = random.Random(-self.seed)
        commands = Commands(self.process, self.place, self.job, maildir, keys, chance)
        for command in STORIES[story]:
            met = self._act(client, commands, command, acts)
            codes = [commands.run(command) for _ in range(2)]
            said = [*commands.said, *lying(maildir, keys)]
            beside = [f"{story}, seed {self.seed}, {client.acts}", *client.moves]
            told = "\n".join([*beside, *said])
            assert met <= CODES | {KILLED, *([NoSpace.exit_code] if self._fills else [])}, told
            seen, wanted = _settled(client), client.wanted()
            assert seen == wanted, f"{told}\nseen {seen - wanted}\nwanted {wanted - seen}"
            assert set(codes) <= CODES, told
            census = checker.census(maildir)
            commands.run(command)
            assert checker.census(maildir) == census, told
        now = texts(maildir, keys)
        other = {
            name: now[name] for name in before if name in client.known and now[name] != before[name]
        }
        assert other == {}, f"{told}\n{ {name: client.known[name] for name in other} }"
        client.close()
        # A warning is the server's own: two acts of one client met in its list.
        mild = (": Warning: ", "No space left on device") if self._fills else (": Warning: ",)
        complaints = self.dovecot.complaints()[noted:]
        assert [line for line in complaints if not any(text in line for text in mild)] == []
        return commands

    @property
    def _fills(self) -> bool:
        return self.beside is not nothing_beside

    def _act(self, client: BusyClient, commands: Commands, command: str, acts: int) -> set[int]:
        done, codes = threading.Event(), set[int]()
        running = threading.Thread(target=commands.run_beside, args=(command, done, codes))
        running.start()
        try:
            with self.beside() as client.space:
                for _ in range(acts):
                    client.act()
        finally:
            client.space = nullcontext()
            done.set()
            running.join()
        return codes

    def _fresh(self, number: int) -> bytes:
        """Every other one is in clear."""
        identity = f"<{number}@example.org>".encode()
        clear = CLEAR.replace(b"<clear@example.org>", identity)
        return encrypted(number, self.keys.old) if number % 2 else clear

    def _fill(self, client: BusyClient) -> None:
        client.empty()
        for number in range(MESSAGES):
            folder = client.folders[number % len(client.folders)]
            flags = frozenset(MARKS[: number % 3])
            raw = encrypted(number, self.keys.old)
            client.append(f"<{number}@example.org>", raw, folder, flags)
        client.append("<clear@example.org>", CLEAR, "INBOX", frozenset())


def _settled(client: BusyClient) -> Counter[tuple[str, str, frozenset[str]]]:
    """What the server shows, once it has looked again at what others did to its files."""
    for _ in range(LOOKS):
        if (seen := client.seen()) == client.wanted():
            break
        time.sleep(1)
    return seen


@contextmanager
def full_now_and_then(disk: Path, seed: int) -> Iterator[AbstractContextManager[object]]:
    """Fills a small disk to its last byte for a moment, again and again.

    Yields:
        A lock; while somebody holds it the disk is not filled.
    """
    done, chance, space = threading.Event(), random.Random(seed), threading.Lock()
    filler = disk / "filler"

    def fill() -> None:
        while not done.wait(chance.uniform(0.05, 0.6)):
            with space:
                with contextlib.suppress(OSError), filler.open("wb", 0) as stream:
                    while stream.write(bytes(max(4096, shutil.disk_usage(disk).free))):
                        pass
                done.wait(chance.uniform(0.05, 0.6))
                filler.unlink()

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        yield space
    finally:
        done.set()
        filling.join()
        filler.unlink(missing_ok=True)
