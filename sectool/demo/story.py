"""The whole story of a move on a copy of the sample mailbox, told step by step."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from sectool import jobs
from sectool.crashpoints import install
from sectool.demo.sample import sample_directory, unpack_maildir
from sectool.durable import explained
from sectool.errors import RunError, UsageError
from sectool.keys import KeySpecification
from sectool.outcome import NOT_DONE, State
from sectool.summary import Summary

CRASH = "joblog.commit.before"
"""Where the simulated crash strikes, at its second passing: checkpoints are written, their record
is not."""

Tell = Callable[[str], None]


class Demo:
    """One telling of the story.

    Args:
        directory: where to play; None: a new temporary directory.
        tell: takes one line for a person.
    """

    def __init__(self, directory: Path | None, tell: Tell) -> None:
        self._tell = tell
        self._sample = sample_directory()
        self._directory = _stage(directory)
        self._old_place = self._directory / "old-server" / "Maildir"
        self._new_place = self._directory / "new-server" / "Maildir"
        self._job = self._directory / "job"
        self._passphrase_file = self._sample / "keys" / "passphrase.txt"
        self._new_certificate = self._sample / "keys" / "new" / "owner-new.pem"
        self._new_key = self._sample / "keys" / "new" / "owner-new.key"

    def run(self) -> bool:
        """Plays it.

        Returns:
            Whether everything came out as it must.
        """
        self._unpack()
        self._scan()
        self._crash()
        decrypted = self._decrypt()
        self._move()
        encrypted = self._encrypt()
        return self._check(decrypted, encrypted)

    # --- the steps ---------------------------------------------------------------

    def _unpack(self) -> None:
        unpack_maildir(self._sample, self._old_place)
        self._title("1", "a mailbox on the old server, and the keys of its owner")
        self._tell(f"   mailbox  {self._old_place}")
        self._tell(f"   keys     {self._sample / 'keys' / 'old'}")

    def _scan(self) -> None:
        self._title("2", "scan: what is in it, and which keys does it need?")
        spec = jobs.Scan(mailbox=str(self._old_place), keys=self._old_keys(), workers=0)
        self._counts(jobs.run(spec))

    def _crash(self) -> None:
        self._title("3", "decrypt: a plaintext checkpoint of every message that opens ... crash!")
        child = os.fork()
        if not child:
            _die_at_the_second(CRASH)
            try:
                jobs.run(self._decryption())
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self._tell(f"   killed in the middle of its work (status {status})")

    def _decrypt(self) -> Summary:
        self._title("4", "the same command again: it goes on where it stopped")
        summary = jobs.run(self._decryption())
        self._counts(summary)
        self._tell(f"   checkpoints  {self._job / 'checkpoints'}")
        return summary

    def _move(self) -> None:
        self._title("5", "the user moves to another server")
        with explained("move the mailbox"):
            self._new_place.parent.mkdir(parents=True)
            shutil.move(self._old_place, self._new_place)
        self._tell(f"   mailbox  {self._new_place}")

    def _encrypt(self) -> Summary:
        self._title("6", "encrypt: every message of the job to the new certificate")
        spec = jobs.Encrypt(
            mailbox=str(self._new_place),
            job=self._job,
            new_certificates=(self._new_certificate,),
            workers=0,
        )
        summary = jobs.run(spec)
        self._counts(summary)
        self._tell(f"   originals  {self._job / 'originals'}")
        return summary

    def _check(self, decrypted: Summary, encrypted: Summary) -> bool:
        self._title("7", "check: the new key alone opens them all")
        keys = KeySpecification((self._new_certificate, self._new_key), None, None)
        spec = jobs.Verify(
            mailbox=str(self._new_place),
            job=self._job,
            verify_keys=keys,
            workers=0,
        )
        checked = jobs.run(spec)
        self._counts(checked)
        wanted = decrypted.counts[State.CHECKPOINTED]
        # Each opened to the digest of what was decrypted.
        good = (
            encrypted.counts[State.REENCRYPTED] == checked.counts[State.VERIFIED] == wanted
            and checked.messages == decrypted.messages
        )
        self._tell("")
        if good:
            self._tell(f"All {wanted} messages that opened before the move open after it.")
            self._tell("What no key opened was left byte for byte as it was.")
        else:
            self._tell("The counts do not agree: please report this.")
        self._tell(f"Look around in {self._directory}, or try:")
        self._tell(f"   sectool status {self._job}")
        return good

    def _decryption(self) -> jobs.Decrypt:
        return jobs.Decrypt(
            mailbox=str(self._old_place),
            job=self._job,
            keys=self._old_keys(),
            workers=0,
        )

    # --- telling -------------------------------------------------------------------

    def _old_keys(self) -> KeySpecification:
        return KeySpecification((self._sample / "keys" / "old",), self._passphrase_file, None)

    def _title(self, number: str, text: str) -> None:
        self._tell("")
        self._tell(f"{number}. {text}")

    def _counts(self, summary: Summary) -> None:
        for state in State:
            if summary.counts[state]:
                mark = "  (left as it is)" if state in NOT_DONE else ""
                self._tell(f"   {summary.counts[state]:5}  {state}{mark}")
        self._tell(f"   {summary.messages:5}  messages in all")


def _die_at_the_second(name: str) -> None:
    """Lets this process be killed at its second passing of a crash point."""
    passed: list[str] = []

    def hook(point: str) -> None:
        passed.append(point)
        if passed.count(name) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    install(hook)


def _stage(directory: Path | None) -> Path:
    if directory is None:
        directory = Path(tempfile.mkdtemp(prefix="sectool-demo-"))
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not an empty directory", hint="name a new one")
    with explained(f"make {directory}"):
        real = jobs.make_directory(directory, jobs.Trust())
        # What is put into it must not go elsewhere either.
        jobs.Trust().walk(real / "job")
    return real


def play(directory: Path | None, tell: Tell) -> None:
    """Plays the whole story.

    Args:
        directory: an empty or new directory; None: a temporary one.
        tell: takes one line for a person.

    Raises:
        RunError: the story did not come out as it must.
    """
    if not Demo(directory, tell).run():
        raise RunError("the demo did not come out as it must")
