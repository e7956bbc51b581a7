"""Kills sectool at random moments, over and over, and looks after each kill what the mailbox holds.

Tells whole stories (decrypt, a move, encrypt, verify, purge; undone ones; in
place; with sealed checkpoints; recipients exchanged) on small mailboxes in which
some mail is a forward of encrypted mail. Every command is killed with all its
workers at a random moment, a few times in a row, and then left to end. The judge
shares no code with sectool: plain files, the standard library and the openssl
command.

    python benchmarks/kill_soak.py --seconds 600
"""

from __future__ import annotations

import argparse
import contextlib
import email
import email.policy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import checker
from tests.support.mailboxes import encrypted, make_key

KILLS = 4
"""At most so many kills of one command before it is left to end."""

LATEST = 2.5
"""Seconds after which a kill comes at the latest; a command takes about two."""

EVERY_FORWARD = 6
"""One message of so many is a forward of an encrypted one."""

FINE = {0, 3}
"""Exit codes of a command that came to its end."""


@dataclass(frozen=True)
class Command:
    """One command of a story; ``{mailbox}`` and the like are filled in."""

    words: tuple[str, ...]
    moves: bool = False
    """The mailbox is moved to another path first."""


DECRYPT = Command(("decrypt", "{mailbox}", "--keys", "{old}", "--job", "{job}"))
ENCRYPT = Command(("encrypt", "{mailbox}", "--job", "{job}", "--to", "{new}"), moves=True)
VERIFY = Command(("verify", "{job}", "--verify-keys", "{new_keys}"))
PURGE = Command(("purge", "{job}"))
ROLLBACK = Command(("rollback", "{job}"))
IN_PLACE = Command((*DECRYPT.words, "--in-place"))
NESTED = Command((*IN_PLACE.words, "--nested"))
REWRAP = Command(
    (
        *("rewrap", "{mailbox}", "--keys", "{old}", "--to", "{new}", "--job", "{job}"),
        "--or-reencrypt",
    )
)

SEALED = Command((*DECRYPT.words, "--seal-to", "{transport}"))
FROM_SEALED = Command((*ENCRYPT.words, "--seal-keys", "{transport_keys}"), moves=True)

STORIES: dict[str, tuple[Command, ...]] = {
    "move": (DECRYPT, ENCRYPT, VERIFY, PURGE),
    "undone": (DECRYPT, ENCRYPT, ROLLBACK, DECRYPT, ENCRYPT),
    "in place": (IN_PLACE, ENCRYPT, VERIFY, PURGE),
    "in place, undone": (IN_PLACE, ROLLBACK),
    "in place, nested": (NESTED, ENCRYPT, VERIFY, PURGE),
    "sealed": (SEALED, FROM_SEALED, VERIFY, PURGE),
    "rewrap": (REWRAP, VERIFY, PURGE),
    "rewrap, undone": (REWRAP, ROLLBACK),
}

WITHOUT_PLAINTEXT = {"sealed", "rewrap", "rewrap, undone"}
"""Stories in which no file of the job may hold anything of what was encrypted."""

PLAINTEXT = b"this is message"
"""Stands in every mail."""


@dataclass
class Score:
    """What a soak did and found."""

    stories: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    kills: int = 0
    messages: int = 0
    """Messages looked at after kills and ends of commands."""
    violations: list[str] = field(default_factory=list)


class Soak:
    """One mailbox, told one story after the other."""

    def __init__(self, directory: Path, messages: int, seed: int) -> None:
        self._directory = directory
        self._random = random.Random(seed)
        self._keys = {name: make_key(directory, name) for name in ("old", "new", "transport")}
        for name, key in self._keys.items():
            kept = directory / f"{name}-keys"
            kept.mkdir()
            shutil.copy(key.certificate, kept)
            shutil.copy(key.private_key, kept)
        ciphers = (("-aes256",), ("-des3",), ("-aes-256-gcm",), ("-aes128", "-stream"))
        mail = (
            encrypted(number, self._keys["old"], options=ciphers[number % len(ciphers)])
            for number in range(messages)
        )
        self._mail = [
            raw if number % EVERY_FORWARD else forwarded(number, raw)
            for number, raw in enumerate(mail)
        ]
        self._clear = b"Subject: clear\nMessage-ID: <clear@example.org>\n\nnothing to hide\n"
        self.score = Score()

    # --- a story ------------------------------------------------------------------

    def tell(self, name: str) -> None:
        """Sets a mailbox up and runs the commands of a story on it."""
        trial = self._directory / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        self._mailbox = trial / "Maildir"
        self._secret = trial / "job" if name in WITHOUT_PLAINTEXT else None
        self._fill()
        self._before = self._contents()
        places = {
            "old": self._directory / "old-keys",
            "new": self._keys["new"].certificate,
            "new_keys": self._directory / "new-keys",
            "transport": self._keys["transport"].certificate,
            "transport_keys": self._directory / "transport-keys",
            "job": trial / "job",
        }
        for command in STORIES[name]:
            if command.moves:
                self._mailbox = self._mailbox.rename(trial / f"moved{len(self._mailbox.name)}")
            filled = [
                word.format(mailbox=self._mailbox, **{k: str(v) for k, v in places.items()})
                for word in command.words
            ]
            self._run(name, filled)
        self.score.stories[name] += 1

    def _fill(self) -> None:
        for folder in ("", ".Archive", ".Sent"):
            for part in ("cur", "new", "tmp"):
                (self._mailbox / folder / part).mkdir(parents=True)
        for number, raw in enumerate([*self._mail, self._clear]):
            folder = ("", ".Archive", ".Sent")[number % 3]
            flags = ("S", "", "RS", "F")[number % 4]
            path = (
                self._mailbox / folder / "cur" / f"{1500000000 + number}.M{number}.host:2,{flags}"
            )
            path.write_bytes(raw)
            os.utime(path, ns=(0, (1_500_000_000 + number) * 10**9))

    # --- a command --------------------------------------------------------------------

    def _run(self, story: str, words: Sequence[str]) -> None:
        self.score.commands += 1
        for _ in range(self._random.randrange(KILLS + 1)):
            if self._killed(words, self._random.uniform(0.05, LATEST)):
                self.score.kills += 1
                self._look(f"{story}: {words[0]} killed", most=2)
        done = self._process(words).wait()
        if done not in FINE:
            self._blame(f"{story}: {words[0]} ended with {done}")
        self._look(f"{story}: {words[0]} ended", most=1)
        census = checker.census(self._mailbox)
        if self._process(words).wait() not in FINE or checker.census(self._mailbox) != census:
            self._blame(f"{story}: a second {words[0]} changed something")

    def _process(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "sectool", *words, "--workers", "2", "--quiet"],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _killed(self, words: Sequence[str], after: float) -> bool:
        process = self._process(words)
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        return False

    # --- the judge ----------------------------------------------------------------------

    def _contents(self) -> Counter[tuple[object, ...]]:
        keys = [self._keys["old"], self._keys["new"]]
        return Counter(
            (mail.folder, mail.flags, mail.mtime_ns, content(mail.raw, keys))
            for mail in checker.stored_mail(self._mailbox)
        )

    def _look(self, where: str, *, most: int) -> None:
        now = self._contents()
        self.score.messages += len(now)
        for wanted, count in self._before.items():
            if not count <= now[wanted] <= most * count:
                self._blame(f"{where}: {now[wanted]} copies of {wanted}")
        for path in self._secret.rglob("*") if self._secret else ():
            if path.is_file() and PLAINTEXT in path.read_bytes():
                self._blame(f"{where}: plaintext in {path.name}")
        for found in now.keys() - self._before.keys():
            self._blame(f"{where}: {found} was never there")

    def _blame(self, what: str) -> None:
        print(f"VIOLATION {what}", flush=True)
        self.score.violations.append(what)


def content(raw: bytes, keys: Sequence[checker.Key]) -> tuple[str, str]:
    """Message-ID and texts of a message, out of their envelopes where they lie in some."""
    lines = raw.splitlines()
    name = next((line for line in lines if line.lower().startswith(b"message-id:")), b"")
    texts: list[str] = []
    for part in email.message_from_bytes(raw, policy=email.policy.compat32).walk():
        body = part.get_payload(decode=True)
        if part.is_multipart() or not isinstance(body, bytes):
            continue
        if body[:1] == b"\x30":
            opened = [checker.opened(body, key) for key in keys]
            inner = next((text for text in opened if text is not None), b"unreadable")
            body = inner.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
        texts.append(body.replace(b"\r\n", b"\n").strip().decode("utf-8", "replace"))
    return name.decode(), "\n".join(texts)


def forwarded(number: int, raw: bytes) -> bytes:
    """A message among whose parts another one is."""
    text = b"Content-Type: text/plain\n\nsee below\n"
    parts = (text, b"Content-Type: message/rfc822\n\n" + raw, text)
    return (
        b"Subject: forward\nMessage-ID: <forward-%d@example.org>\nMIME-Version: 1.0\n" % number
        + b'Content-Type: multipart/mixed; boundary="outer"\n\n'
        + b"".join(b"--outer\n" + part + b"\n" for part in parts)
        + b"--outer--\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--story", choices=[*STORIES], action="append")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(Path(directory), arguments.messages, arguments.seed)
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end and not soak.score.violations:
            for name in arguments.story or STORIES:
                soak.tell(name)
    score = soak.score
    print(
        json.dumps(
            {
                "stories": dict(score.stories),
                "commands": score.commands,
                "kills": score.kills,
                "messages looked at": score.messages,
                "violations": len(score.violations),
            },
            indent=2,
        )
    )
    return 1 if score.violations else 0


if __name__ == "__main__":
    sys.exit(main())
