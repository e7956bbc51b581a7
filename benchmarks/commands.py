"""The commands that are measured, and whether each did what it was measured for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.mail import Mail
from benchmarks.measure import Measured, measured

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""Has M2Crypto, where Debian's ``python3-m2crypto`` is installed."""
FLOORS = Path(__file__).with_name("floors.py")
SAMPLE = 100
"""Files whose digest is compared; those that openssl must open first are a fifth of them."""


class WrongAnswer(Exception):
    """A program did not do what it was measured for."""


def say(text: str) -> None:
    """Tells a person who waits."""
    print(text, file=sys.stderr, flush=True)


def put_into(page: Path, mark: str, text: str) -> None:
    """Replaces what stands on a page between two comments that begin and end a mark."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no place for the {mark}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


@dataclass(frozen=True)
class Sample:
    """What one command cost."""

    messages: int
    seconds: float
    cpu: float
    """Seconds of processor time of all its processes."""
    first: float
    """Those of its first process; of ``sectool``, which names, syncs and logs."""
    megabytes: float
    """Peak of the resident sets of all its processes, where it was watched."""

    @property
    def cpu_each(self) -> float:
        """Milliseconds for each message."""
        return 1000 * self.cpu / self.messages


Step = Callable[["Round"], Measured]
STEPS: dict[str, Step] = {}


def step(name: str) -> Callable[[Step], Step]:
    """Registers a command under a name; it is run once in a round."""

    def register(run: Step) -> Step:
        STEPS[name] = run
        return run

    return register


class Round:
    """Commands on one mailbox, each at most once, in a new directory.

    ext4 is slow for new files where many were deleted just before, so nothing is deleted
    before all rounds are done.
    """

    def __init__(self, mail: Mail, directory: Path, cores: int, *, watch: bool = False) -> None:
        self.mail = mail
        self.directory = directory
        self.cores = cores
        self._processors = sorted(os.sched_getaffinity(0))[:cores]
        self._watch = watch
        self._samples: dict[str, Sample] = {}
        self._failed: dict[str, WrongAnswer] = {}
        directory.mkdir(parents=True)

    def __getitem__(self, name: str) -> Sample:
        """What a step costs, which is run if it was not yet."""
        if name in self._failed:
            raise self._failed[name]
        if name not in self._samples:
            try:
                done = STEPS[name](self)
            except WrongAnswer as error:
                self._failed[name] = error
                raise
            figures = (done.seconds, done.cpu, done.first, done.peak.rss / 1e6)
            self._samples[name] = Sample(self.count, *figures)
            say(f"  {name}: {done.seconds:.2f} s, processors {done.cpu:.2f} s")
        return self._samples[name]

    @property
    def samples(self) -> Mapping[str, Sample]:
        """What was run, by name."""
        return self._samples

    def run(self, *command: object, code: int = 0, **options: Any) -> Measured:
        """Runs a command that must end with a code."""
        done = measured(command, processors=self._processors, watch=self._watch, **options)
        if done.code != code:
            words = " ".join(map(str, command))
            raise WrongAnswer(
                f"exit {done.code}: {words}\n{(done.errors or done.output).decode()[-2000:]}"
            )
        return done

    def sectool(self, *arguments: object, states: Collection[str]) -> Measured:
        """Runs sectool, whose summary must have each message in one of these states."""
        options = ("--workers", self.cores, "--json", "--quiet")
        done = self.run(sys.executable, "-m", "sectool", *arguments, *options)
        summary = json.loads(done.output)
        counts = summary["counts"]
        if not counts.keys() <= set(states) or sum(counts.values()) != self.count:
            raise WrongAnswer(f"{arguments[0]}: {counts}")
        return done

    def floor(self, kind: str, python: Path = Path(sys.executable)) -> Measured:
        """Runs what is in ``floors.py``."""
        output = self.new(kind)
        arguments = (FLOORS, kind, self.mail.maildir, output, self.mail.old, self.cores)
        return self.run(python, *arguments)

    def new(self, name: str) -> Path:
        """A new directory."""
        path = self.directory / name
        path.mkdir()
        return path

    def copy(self, name: str) -> Path:
        """A copy of the mailbox, to change it."""
        return shutil.copytree(self.mail.maildir, self.directory / name)

    @cached_property
    def mailbox(self) -> Path:
        """What is decrypted and encrypted."""
        return self.copy("moved")

    @property
    def decrypting(self) -> tuple[object, ...]:
        return "decrypt", self.mailbox, "--keys", self.mail.old, "--job", self.directory / "job"

    @property
    def encrypting(self) -> tuple[object, ...]:
        return "encrypt", self.mailbox, *self._to, "--job", self.directory / "job"

    @property
    def _to(self) -> tuple[object, ...]:
        return "--to", self.mail.new.with_suffix(".crt")

    @property
    def rewrapping(self) -> tuple[object, ...]:
        job = self.directory / "exchange"
        return (
            *("rewrap", self.exchanged, "--keys", self.mail.old, *self._to, "--job", job),
            "--or-reencrypt",  # Triple-DES must not stay
        )

    @cached_property
    def exchanged(self) -> Path:
        """What is rewrapped."""
        return self.copy("exchanged")

    @property
    def count(self) -> int:
        return len(self.mail.names)

    @cached_property
    def list(self) -> Path:
        """A file with the names of all messages, each ended by NUL."""
        path = self.directory / "list"
        path.write_text("".join(f"{name}\0" for name in self.mail.names))
        return path

    # --- whether the answer is right ---------------------------------------------------

    def check(
        self, what: str, directory: Path, digest: Callable[[Path], str], *, sample: int = SAMPLE
    ) -> None:
        """That a directory has a file for each message, and that a sample has their contents.

        A file that has the name of a message must have its content.
        """
        files = sorted(path for path in directory.iterdir() if path.is_file())
        if len(files) != self.count:
            raise WrongAnswer(f"{what}: {len(files)} of {self.count}")
        for path in files[:: max(1, len(files) // sample)]:
            wanted = self._digests.get(path.name)
            found = digest(path)
            if found != wanted if wanted else found not in self._digests.values():
                raise WrongAnswer(f"{what}: {path} has another content")

    def check_opened(self, what: str, directory: Path) -> None:
        """The same of messages to the new key, which openssl opens."""
        self.check(what, directory, self._opened, sample=SAMPLE // 5)

    def _opened(self, path: Path) -> str:
        key = self.mail.new
        command = ("openssl", "cms", "-decrypt", "-in", path, "-recip", key, "-inkey", key)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            return hashlib.file_digest(process.stdout, "sha256").hexdigest()  # type: ignore[arg-type]

    @cached_property
    def _digests(self) -> Mapping[str, str]:
        """Of the contents, by file name."""
        return dict(zip(self.mail.names, self.mail.digests, strict=True))


def file_digest(path: Path, start: int = 0) -> str:
    """SHA-256 of a file from an offset."""
    with path.open("rb") as stream:
        stream.seek(start)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checkpoint_digest(path: Path) -> str:
    """SHA-256 of the content that a checkpoint holds."""
    with path.open("rb") as stream:
        found = re.search(rb"inner-offset=(\d+)", stream.read(10_000))
    assert found
    return file_digest(path, int(found[1]))


def xargs(cores: int, *command: object) -> tuple[object, ...]:
    """A command for each name of a list, several at once."""
    return "xargs", "-0", f"-P{cores}", "-I{}", *command


@step("decrypt")
def decrypt(on: Round) -> Measured:
    done = on.sectool(*on.decrypting, states=["checkpointed"])
    on.check("decrypt", on.directory / "job" / "checkpoints", checkpoint_digest)
    return done


@step("decrypt again")
def decrypt_again(on: Round) -> Measured:
    _ = on["decrypt"]
    return on.sectool(*on.decrypting, states=["checkpointed"])


@step("encrypt")
def encrypt(on: Round) -> Measured:
    _ = on["decrypt"]
    done = on.sectool(*on.encrypting, states=["reencrypted"])
    on.check_opened("encrypt", on.mailbox / "cur")
    return done


@step("encrypt again")
def encrypt_again(on: Round) -> Measured:
    _ = on["encrypt"]
    return on.sectool(*on.encrypting, states=["reencrypted"])


@step("rewrap")
def rewrap(on: Round) -> Measured:
    done = on.sectool(*on.rewrapping, states=["rewrapped", "reencrypted"])
    on.check_opened("rewrap", on.exchanged / "cur")
    return done


@step("rewrap again")
def rewrap_again(on: Round) -> Measured:
    _ = on["rewrap"]
    return on.sectool(*on.rewrapping, states=["rewrapped", "reencrypted"])


@step("scan")
def scan(on: Round) -> Measured:
    return on.sectool("scan", on.mail.maildir, states=["encrypted"])


@step("scan --quick")
def scan_quick(on: Round) -> Measured:
    return on.sectool("scan", on.mail.maildir, "--quick", states=["encrypted"])


@step("scan --keys")
def scan_keys(on: Round) -> Measured:
    return on.sectool("scan", on.mail.maildir, "--keys", on.mail.old, states=["readable"])


@step("openssl decrypt")
def openssl_decrypt(on: Round) -> Measured:
    output, key = on.new("openssl decrypt"), on.mail.old
    command = ("openssl", "cms", "-decrypt", "-in", "{}", "-out", output / "{}", "-inkey", key)
    cur = on.mail.maildir / "cur"
    done = on.run(*xargs(on.cores, *command, "-recip", key), given=on.list, directory=cur)
    on.check("openssl decrypt", output, file_digest)
    return done


@step("openssl encrypt")
def openssl_encrypt(on: Round) -> Measured:
    _ = on["openssl decrypt"]
    output, certificate = on.new("openssl encrypt"), on.mail.new.with_suffix(".crt")
    command = ("openssl", "cms", "-encrypt", "-binary", "-aes256", "-in", "{}", "-out")
    plaintexts = on.directory / "openssl decrypt"
    words = (*command, output / "{}", certificate)
    done = on.run(*xargs(on.cores, *words), given=on.list, directory=plaintexts)
    on.check_opened("openssl encrypt", output)
    return done


@step("M2Crypto decrypt")
def m2crypto_decrypt(on: Round) -> Measured:
    done = on.floor("m2crypto", SYSTEM_PYTHON)
    on.check("M2Crypto decrypt", on.directory / "m2crypto", file_digest)
    return done


@step("floor of decrypt")
def floor_of_decrypt(on: Round) -> Measured:
    done = on.floor("decrypt")
    on.check("floor of decrypt", on.directory / "decrypt", file_digest)
    return done


@step("floor of scan")
def floor_of_scan(on: Round) -> Measured:
    done = on.floor("scan")
    digests = {
        line for path in (on.directory / "scan").iterdir() for line in path.read_text().split()
    }
    if len(digests) != on.count:
        raise WrongAnswer("floor of scan")
    return done


EMPTY = """import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def main() -> None:
    pass


app()
"""
"""Without Rich, which costs as much again and which sectool does not use."""


@step("--help")
def help_of_sectool(on: Round) -> Measured:
    done = on.run(sys.executable, "-m", "sectool", "--help")
    assert b"rewrap" in done.output
    return done


@step("empty --help")
def help_of_nothing(on: Round) -> Measured:
    (on.directory / "empty.py").write_text(EMPTY)
    done = on.run(sys.executable, "-m", "empty", "--help", directory=on.directory)
    assert b"--help" in done.output
    return done
