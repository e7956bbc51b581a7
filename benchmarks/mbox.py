"""Holds an mbox of many messages against a Maildir with the same mail, and kills it on its way.

Each command of a move runs on both stores by turns. Printed are the processor time of a message,
the start aside, the peak of all processes together, and how often the file became another one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.mail import Mail, make_mail
from benchmarks.measure import INTERVAL, measured, tree

FEW = 10
"""Messages of the mailbox whose cost is that of the start."""
SHARES = (10, 50, 90)
"""Parts of a command in hundredths, after each of which it is killed once."""
COMMANDS = ("decrypt", "encrypt", "rollback")
_LINE = b"From alice-%d@example.org Fri Mar  4 05:06:07 2011\n"


@dataclass
class Cost:
    """Of one command, with all the runs that it took."""

    cpu: float = 0
    rss: int = 0
    pss: int = 0
    renames: int = 0


@dataclass
class Trial:
    """A copy of some mail in one kind of store, and its job."""

    mail: Mail
    directory: Path
    kind: str
    costs: dict[str, Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mailbox, self.job = self.directory / "box", self.directory / "job"
        self.beside = self.directory / ".box.sectool"
        self.directory.mkdir()
        if self.kind == "maildir":
            shutil.copytree(self.mail.maildir, self.mailbox)
            return
        with self.mailbox.open("wb") as box:
            for number, name in enumerate(self.mail.names):
                raw = (self.mail.maildir / "cur" / name).read_bytes()
                box.write(_LINE % number + raw + b"\n")

    def finished(self, name: str) -> list[Path]:
        """The files that a command has finished, and that wait."""
        there = self.job / "checkpoints" if name == "decrypt" else self.beside
        ending = ".eml" if name == "decrypt" else ".new"
        with contextlib.suppress(FileNotFoundError), os.scandir(there) as entries:
            return [there / entry.name for entry in entries if entry.name.endswith(ending)]
        return []

    def run(
        self, name: str, kills: Sequence[int] = (), at_kill: Callable[[], object] = int
    ) -> Cost:
        """Runs a command, killed whenever so many more messages are finished, to its end."""
        words: dict[str, tuple[object, ...]] = {
            "decrypt": (f"{self.kind}:{self.mailbox}", "--keys", self.mail.old, "--job", self.job),
            "encrypt": ("--job", self.job, "--to", self.mail.new.with_suffix(".crt")),
            "rollback": (self.job,),
        }
        options = ("--workers", "2", "--quiet")
        command = (sys.executable, "-m", "sectool", name, *words[name], *options)
        cost = self.costs[name] = Cost()
        for count in (*kills, None):
            with self._watched(name, count, cost):
                done = measured(command, watch=True)
            cost.cpu += done.cpu
            cost.rss, cost.pss = max(cost.rss, done.peak.rss), max(cost.pss, done.peak.pss)
            if done.code != (0 if count is None else -signal.SIGKILL):
                raise SystemExit(f"{name}: exit {done.code}\n{done.errors.decode()}")
            if count is not None:
                at_kill()
        return cost

    @contextmanager
    def _watched(self, name: str, count: int | None, cost: Cost) -> Iterator[None]:
        """Counts renames, and kills all processes once so many messages are finished."""
        ended = threading.Event()

        def watch() -> None:
            last = self.mailbox.stat().st_ino
            while not ended.wait(INTERVAL):
                now = self.mailbox.stat().st_ino
                cost.renames, last = cost.renames + (now != last), now
                if count is not None and len(self.finished(name)) >= count:
                    _kill_below()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
            time.sleep(2 * INTERVAL)
        finally:
            ended.set()
            watcher.join()


def _kill_below() -> None:
    """Kills all that this process began, but who keeps the account."""
    for process in tree(os.getpid()):
        with contextlib.suppress(OSError):
            is_keeper = b"measure.py" in Path(f"/proc/{process}/cmdline").read_bytes()
            if process != os.getpid() and not is_keeper:
                os.kill(process, signal.SIGKILL)


def compare(trials: Sequence[Trial], few: Sequence[Trial]) -> None:
    """Runs a move on each store by turns, and prints a line for each command."""
    for command in COMMANDS:
        each = {}
        for trial, start in zip(trials, few, strict=True):
            cost = trial.run(command)
            each[trial.kind] = _tell(trial, command, cost, start)
        print(
            f"  {command:9} mbox against Maildir {each['mbox'] / each['maildir']:.2f}", flush=True
        )


def _tell(trial: Trial, command: str, cost: Cost, start: Trial, runs: int = 1) -> float:
    messages = len(trial.mail.names)
    each = 1000 * (cost.cpu - runs * start.costs[command].cpu) / (messages - FEW)
    print(
        f"  {command:9} {trial.kind:8} {each:6.2f} ms each   RSS {cost.rss / 1e6:4.0f} MB"
        f"   PSS {cost.pss / 1e6:4.0f} MB"
        + (f"   renames {cost.renames}" if trial.kind == "mbox" else ""),
        flush=True,
    )
    return each


def kill(trial: Trial, start: Trial) -> None:
    """Runs a move whose commands are killed, and looks what of the finished is done anew."""
    count, before = len(trial.mail.names), _digest(trial.mailbox)
    for command in COMMANDS:
        kept: list[set[object]] = []

        def at_kill(command: str = command, kept: list[set[object]] = kept) -> None:
            finished = trial.finished(command)
            kept.append(set(map(_stamp if command == "decrypt" else _digest, finished)))

        # What a killed run finished comes in first, so that fewer wait than were done.
        marks = [count * share // 100 for share in SHARES]
        steps = [after - was for was, after in zip((0, *marks), marks, strict=False)]
        cost = trial.run(command, marks if command == "decrypt" else steps, at_kill)
        _tell(trial, command, cost, start, runs=1 + len(SHARES))
        if command == "decrypt":
            end = set[object](map(_stamp, trial.finished(command)))
        else:
            end = set[object](_digests(trial.mailbox))
        for share, finished in zip(SHARES, kept, strict=True):
            anew = len(finished - end)
            print(f"    killed at {share} %: {len(finished)} finished, {anew} done anew")
    is_same = _digest(trial.mailbox) == before
    print(f"  in the end {'every byte is' if is_same else 'NOT all is'} as it was", flush=True)


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_ino, status.st_mtime_ns


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(box: Path) -> Iterator[str]:
    """Of each message of the file, whose bodies have no line that begins with ``From``."""
    with box.open("rb") as file:
        lines: list[bytes] = []
        for line in itertools.chain(file, [b"From "]):
            if line.startswith(b"From ") and lines:
                yield hashlib.sha256(b"".join(lines[1:-1])).hexdigest()
                lines = []
            lines.append(line)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="*", default=[1000, 20_000])
    parser.add_argument("--killed", type=int, nargs="*", default=[20_000])
    parser.add_argument("--directory", type=Path, help="where to work; default: temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        made = make_mail(directory / "few", "archive", FEW)
        few = [Trial(made, directory / f"few-{kind}", kind) for kind in ("maildir", "mbox")]
        for command in COMMANDS:
            for trial in few:
                trial.run(command)
        for count in sorted({*options.messages, *options.killed}):
            mail = make_mail(directory / str(count), "archive", count)
            if count in options.messages:
                print(f"{count} messages, {mail.size / 1e6:.0f} MB", flush=True)
                trials = [Trial(mail, directory / one.kind, one.kind) for one in few]
                compare(trials, few)
                for trial in trials:
                    shutil.rmtree(trial.directory)
            if count in options.killed:
                print(f"{count} messages, {mail.size / 1e6:.0f} MB, killed", flush=True)
                kill(Trial(mail, directory / "killed", "mbox"), few[1])


if __name__ == "__main__":
    main()
