"""A job in place encrypts its own plaintext copies, and nobody else's mail is taken for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.cli.words.render import verdict_as_json
from sectool.outcome import State
from sectool.progress import NoProgress
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Fields, Specify

OK = b"Content-Type: text/plain\r\n\r\nok\r\n"
EMPTY = b"Content-Type: text/plain\r\n\r\n"
FROM = b"From: alice@example.org\n"
STRANGER = b"From: mallory@example.net\nSubject: hello\n"

Variant = Callable[[bytes, bytes], bytes]
"""Makes a stranger's mail of a plaintext copy that lies in the mailbox, and of another one."""


def fields(raw: bytes, *names: bytes) -> bytes:
    lines = raw.partition(b"\n\n")[0].split(b"\n")
    return b"".join(line + b"\n" for line in lines if line.lower().startswith(names))


def with_header(raw: bytes, header: bytes) -> bytes:
    """The same body under another header."""
    return header + fields(raw, b"content-") + b"\n" + raw.partition(b"\n\n")[2]


MARK = b"x-sectool-id"
FOREIGN: dict[str, Variant] = {
    "the same body": lambda raw, _: with_header(raw, STRANGER),
    "no field of an author": lambda raw, _: with_header(raw, b"Subject: hello\n"),
    "its Message-ID": lambda raw, _: with_header(raw, STRANGER + fields(raw, b"message-id")),
    "its Message-ID and Date": lambda raw, _: with_header(
        raw, STRANGER + fields(raw, b"message-id", b"date")
    ),
    "its mark": lambda raw, _: with_header(raw, STRANGER + fields(raw, MARK)),
    "its mark and Message-ID": lambda raw, _: with_header(
        raw, STRANGER + fields(raw, MARK, b"message-id")
    ),
    "the mark of another": lambda raw, other: with_header(raw, STRANGER + fields(other, MARK)),
    "another header with the mark of another job": lambda raw, _: with_header(
        raw, STRANGER + fields(raw, MARK).replace(b"job=", b"job=0")
    ),
    "its header and another body": lambda raw, _: raw + b"more\n",
}
"""What is certainly none of the job's."""

TWINS: dict[str, Variant] = {
    "byte for byte": lambda raw, _: raw,
    "a field more": lambda raw, _: b"X-Added: 1\n" + raw,
    "fields less": lambda raw, _: with_header(
        raw, fields(raw, b"from", b"date", b"message-id", MARK)
    ),
    "another Subject": lambda raw, _: raw.replace(b"Subject: message", b"Subject: forged"),
    "without its mark": lambda raw, _: raw.replace(fields(raw, MARK), b""),
    "with the mark of another": lambda raw, other: raw.replace(
        fields(raw, MARK), fields(other, MARK)
    ),
    "with the mark of another job": lambda raw, _: raw.replace(b"job=", b"job=0"),
    "without mark and a field more": lambda raw, _: (
        b"X-Added: 2\n" + raw.replace(fields(raw, MARK), b"")
    ),
}
"""What a mail program may have made of a copy as well: nothing tells these apart."""


@dataclass
class Box:
    """A mailbox whose mail was decrypted in place, and all that ever arrived there."""

    maildir: Path
    arrived: dict[str, bytes]
    specify: Specify

    def run(self, operation: str, **options: Unpack[Fields]) -> Counter[State]:
        place = self.maildir if operation in {"decrypt", "encrypt"} else None
        if operation == "decrypt":
            options["in_place"] = True
        return Counter(jobs.run(self.specify(operation, place, **options)).counts)

    def copies(self) -> dict[Path, bytes]:
        """The plaintext copies of the job, in order of their rows."""
        found = {path: path.read_bytes() for path in self.maildir.rglob("cur/*,S")}
        return dict(sorted(found.items(), key=lambda one: fields(one[1], MARK)))

    def arrives(self, name: str, raw: bytes) -> None:
        number = len(self.arrived)
        # Some come before the job's own copies in a walk, and some after.
        base = f"{(1_000_000_000, 1_900_000_000)[number % 2] + number}.M{number}P9.host:2,"
        (self.maildir / "cur" / base).write_bytes(raw)
        self.arrived[name] = raw

    def here(self) -> Counter[bytes]:
        return Counter(path.read_bytes() for path in self.maildir.rglob("cur/*"))

    def twins(self) -> list[bytes]:
        """What nothing tells from a copy of the job and lies in clear."""
        return [raw for name, raw in self.arrived.items() if name in TWINS and self.here()[raw]]

    def check_all_are_here(self, but: frozenset[str] = frozenset()) -> None:
        here = self.here()
        for name, raw in self.arrived.items():
            assert here[raw] > 0 or name in but, name


class Told(NoProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.warnings.append(text)


@pytest.fixture
def box(tmp_path: Path, keys: Keys, specify: Specify) -> Box:
    raws = [FROM + encrypted(n, keys.old, inner=OK, options=("-aes-128-gcm",)) for n in (1, 2)]
    raws += [encrypted(3, keys.old, inner=EMPTY, options=("-aes-128-gcm",))]
    box = Box(tmp_path / "Maildir", {f"original {n}": raw for n, raw in enumerate(raws)}, specify)
    mails = [Mail("", f"cur/130000000{n}.M{n}P1.host:2,S", raw) for n, raw in enumerate(raws)]
    fill(box.maildir, mails)
    (box.maildir / ".Sent" / "cur").mkdir(parents=True, exist_ok=True)
    box.arrives("in clear before", with_header(OK.replace(b"\r\n", b"\n"), STRANGER))
    assert box.run("decrypt") == {State.DECRYPTED: 3, State.CLEAR: 1}
    return box


def moved(box: Box, added: bytes = b"") -> None:
    """The job's copies lie under other names, so that each is known by its content alone."""
    for number, (path, raw) in enumerate(box.copies().items()):
        path.unlink()
        name = f"150000000{number}.M{number}P7.host:2,S"
        (box.maildir / ".Sent" / "cur" / name).write_bytes(added + raw)


def deleted(box: Box) -> None:
    for path in box.copies():
        path.unlink()


SITUATIONS: dict[str, Callable[[Box], None]] = {
    "there": lambda _: None,
    "moved": moved,
    "moved, a field added": lambda box: moved(box, b"Received: by server\n"),
    "deleted": deleted,
}


@pytest.mark.parametrize("again", [False, True], ids=["", "decrypted again"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_certainly_a_strangers_is_never_encrypted_or_lost(
    situation: str, again: bool, box: Box
) -> None:
    first, second, empty = box.copies().values()
    for name, variant in FOREIGN.items():
        box.arrives(name, variant(first, second))
        box.arrives(f"{name}, empty", variant(empty, second))
    SITUATIONS[situation](box)
    strangers = {raw for name, raw in box.arrived.items() if not name.startswith("original")}
    if again:
        box.run("decrypt")
    box.run("encrypt", partial=True)
    assert strangers <= set(box.here())
    box.run("verify", partial=True)
    box.run("purge", partial=True)
    assert strangers <= set(box.here())
    box.run("rollback", partial=True)
    gone = frozenset(f"original {n}" for n in range(3)) if situation == "deleted" else frozenset()
    box.check_all_are_here(but=gone)


@pytest.mark.parametrize("again", [False, True], ids=["", "decrypted again"])
@pytest.mark.parametrize("situation", ["there", "moved"])
def test_what_nothing_tells_apart_is_encrypted_and_comes_back_as_it_was(
    situation: str, again: bool, box: Box, keys: Keys
) -> None:
    first, second, _ = box.copies().values()
    for name, variant in TWINS.items():
        box.arrives(name, variant(first, second))
    SITUATIONS[situation](box)
    if again:
        box.run("decrypt")
    box.run("encrypt")
    opened = [
        checker.opened(envelope, keys.new)
        for mail in checker.stored_mail(box.maildir)
        for envelope in checker.envelopes(mail.raw)
    ]
    assert opened.count(OK) == 2 + len(TWINS)
    assert box.run("verify")[State.REENCRYPTED] == 3 + len(TWINS)
    box.run("rollback")
    box.check_all_are_here()
    here = box.here()
    box.run("rollback")
    assert box.here() == here


@pytest.mark.parametrize(
    "name", [name for name in TWINS if name not in {"byte for byte", "a field more"}]
)
def test_what_is_left_when_the_owner_deleted_the_copy_does_not_become_it(
    name: str, box: Box
) -> None:
    first, second, _ = box.copies().values()
    box.arrives(name, TWINS[name](first, second))
    deleted_first(box, first)
    box.run("encrypt", partial=True)
    box.run("rollback", partial=True)
    box.check_all_are_here(but=frozenset({"original 0"}))


def deleted_first(box: Box, first: bytes) -> None:
    for path, raw in box.copies().items():
        if raw == first:
            path.unlink()
            return


def test_what_a_stranger_sends_after_encrypting_is_left(box: Box) -> None:
    first, second, _ = box.copies().values()
    box.run("encrypt")
    for name, variant in FOREIGN.items():
        box.arrives(name, variant(first, second))
    before = box.here()
    for operation in ("verify", "encrypt", "purge"):
        box.run(operation)
        assert box.here() == before
    box.run("rollback")
    box.check_all_are_here()


@pytest.mark.parametrize("first_comes", ["verify", "encrypt"])
def test_a_copy_in_clear_that_comes_after_encrypting_is_encrypted_as_well(
    first_comes: str, box: Box
) -> None:
    first, second, _ = box.copies().values()
    box.run("encrypt")
    for name, variant in TWINS.items():
        box.arrives(name, variant(first, second))
    if first_comes == "verify":
        told = jobs.run(box.specify("verify", None))
        assert (told.exit_code, verdict_as_json(told)["good"]) == (3, False)
        assert told.counts[State.DECRYPTED] == len(TWINS)
    summary = jobs.run(box.specify("encrypt", box.maildir))
    assert summary.exit_code == 0
    assert summary.counts[State.REENCRYPTED] == 3 + len(TWINS)
    assert box.twins() == []
    assert jobs.run(box.specify("verify", None)).exit_code == 0
    box.run("rollback")
    box.check_all_are_here()


@pytest.mark.parametrize("operation", ["verify", "encrypt"])
def test_a_copy_in_clear_of_what_was_purged_is_told(operation: str, box: Box) -> None:
    first, _, _ = box.copies().values()
    box.run("encrypt")
    box.run("purge", accept_unproven=True)
    box.arrives("a copy", first)
    place = box.maildir if operation == "encrypt" else None
    summary = jobs.run(box.specify(operation, place))
    assert (summary.exit_code, verdict_as_json(summary)["good"]) == (3, False)
    assert summary.counts[State.FAILED] == 1
    assert box.here()[first] == 1
    box.run("encrypt", include_clear=True)
    assert box.here()[first] == 0


def test_copies_in_clear_that_a_backup_brings_back_wait_again(box: Box) -> None:
    before = dict(box.copies())
    box.run("encrypt")
    deleted(box)
    for path, raw in before.items():
        path.write_bytes(raw)
    told = jobs.run(box.specify("verify", None))
    assert (told.exit_code, told.counts[State.DECRYPTED]) == (3, 3)
    assert box.run("encrypt") == {State.REENCRYPTED: 3, State.CLEAR: 1}
    box.run("rollback")
    box.check_all_are_here()


def test_an_old_ciphertext_in_the_place_of_a_copy_comes_back_as_it_was(box: Box) -> None:
    deleted(box)
    raw = box.arrived["original 0"]
    box.arrives("replayed", raw.replace(FROM, STRANGER))
    box.run("encrypt", partial=True)
    box.run("rollback", partial=True)
    assert box.here()[box.arrived["replayed"]] == 1


def numbers(count: int) -> list[object]:
    """Points to be killed at; a few of them in the normal run."""
    few = set(range(5, count, 17))
    return [
        n if n in few else pytest.param(n, marks=pytest.mark.all_only) for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("number", numbers(70))
def test_killed_while_it_encrypts_it_loses_nobodys_mail(number: int, box: Box) -> None:
    first, second, _ = box.copies().values()
    for name, variant in {**FOREIGN, **TWINS}.items():
        box.arrives(name, variant(first, second))
    moved(box)
    spec = box.specify("encrypt", box.maildir)
    crash.killed_at(spec, str(number))
    box.run("encrypt")
    box.run("rollback")
    box.check_all_are_here()


def test_a_further_copy_that_failed_waits_on_whatever_is_decrypted_meanwhile(
    box: Box, tmp_path: Path
) -> None:
    first, second, _ = box.copies().values()
    box.arrives("a twin", TWINS["a field more"](first, second))
    files = {path: path.read_bytes() for path in (tmp_path / "job" / "checkpoints").glob("*.eml")}
    for path, raw in files.items():
        path.write_bytes(raw[:-1] + b"?")
    assert box.run("encrypt") == {State.FAILED: 4, State.CLEAR: 1}
    box.run("decrypt")
    for path, raw in files.items():
        path.write_bytes(raw)
    assert box.run("encrypt") == {State.REENCRYPTED: 4, State.CLEAR: 1}
    box.run("rollback")
    box.check_all_are_here()


def test_what_is_not_taken_is_told(box: Box) -> None:
    first, second, _ = box.copies().values()
    for name in ("the same body", "its Message-ID", "its mark"):
        box.arrives(name, FOREIGN[name](first, second))
    box.arrives("other mail", with_header(b"\n\nsomething else\n", STRANGER))
    told = Told()
    summary = jobs.run(box.specify("encrypt", box.maildir), told)
    assert summary.counts[State.NOT_IN_JOB] == 4
    (warning,) = told.warnings
    assert warning.startswith("3 messages in clear have the text of decrypted ones")
