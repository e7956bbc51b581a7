"""What was read of a small message is not read again; keys that mail does not name cost nothing."""

from __future__ import annotations

import io
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.mime.header import HeaderBlock
from sectool.outcome import State
from sectool.progress import NoProgress
from tests.support.faults import FaultyProcess, fault
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

MESSAGES = 4
TAKING_IN_STATEMENTS = 11
TAKING_IN_CALLS = 2_200
"""Of any function, for each message of which a checkpoint is written."""
TEXT = b"Content-Type: text/plain\r\n\r\n" + b"a line of some length, and its end\r\n" * 240

_opened: list[str] | None = None


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_opened)


class Effort:
    """What a piece of work did in this process."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        """Names of files, as they were given to the system."""
        self.headers: Counter[bytes] = Counter()
        """Message-IDs of the header blocks that were read."""
        self.called: Counter[str] = Counter()
        """Functions of libraries."""
        self.calls = 0
        """Of any function."""
        self.read: Counter[str] = Counter()
        """Names of files, each as often as it was read from its first byte."""

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call":
            name = getattr(argument, "__name__", "")
            self.called[name] += 1
            stream = getattr(argument, "__self__", None)
            if name == "read" and isinstance(stream, io.BufferedReader):
                self.note_read(stream)
        if event in {"c_call", "call"}:
            self.calls += 1
        if event == "return" and frame.f_code.co_name == "__init__":
            made = frame.f_locals.get("self")
            if isinstance(made, HeaderBlock):
                self.headers[made.first(b"message-id") or b""] += 1

    @property
    def statements(self) -> int:
        """Calls that ask the job log something or write to it."""
        return self.called["execute"] + self.called["executemany"]

    def note_read(self, stream: io.BufferedReader) -> None:
        with suppress(OSError, ValueError):  # it is closed, or no file
            if stream.tell() == 0:
                self.read[Path(f"/proc/self/fd/{stream.fileno()}").readlink().name] += 1


@contextmanager
def watched() -> Iterator[Effort]:
    global _opened  # noqa: PLW0603  # an audit hook stays as long as the process
    effort = Effort()
    _opened, before = effort.opened, sys.getprofile()
    threading.setprofile(effort.note)
    sys.setprofile(effort.note)
    try:
        yield effort
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        _opened = None


@pytest.fixture
def small(keys: Keys, tmp_path: Path) -> Path:
    directory = tmp_path / "Maildir"
    mail = [encrypted(number, keys.old, inner=TEXT) for number in range(MESSAGES)]
    fill(directory, [Mail("", f"cur/130000000{n}.M{n}P1.h:2,S", raw) for n, raw in enumerate(mail)])
    return directory


def test_decrypt_opens_parses_and_decodes_a_small_message_once(
    small: Path, specify: Specify
) -> None:
    with watched() as effort:
        summary = jobs.run(specify("decrypt", small))
    assert summary.counts == {State.CHECKPOINTED: MESSAGES}
    stored = [path.name for path in (small / "cur").iterdir()]
    assert Counter(name for name in effort.opened if name in stored) == Counter(stored)
    assert [count for name, count in effort.headers.items() if name] == [1] * MESSAGES
    assert effort.called["b64decode"] == MESSAGES


def test_a_scan_with_keys_opens_parses_and_decodes_a_small_message_once(
    small: Path, specify: Specify
) -> None:
    with watched() as effort:
        summary = jobs.run(specify("scan", small))
    assert summary.counts == {State.READABLE: MESSAGES}
    stored = [path.name for path in (small / "cur").iterdir()]
    assert Counter(name for name in effort.opened if name in stored) == Counter(stored)
    assert [count for name, count in effort.headers.items() if name] == [1] * MESSAGES
    assert effort.called["b64decode"] == MESSAGES


def _former_key(number: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), number + 1)
    certificate = (
        builder.not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _effort_of_opening(small: Path, specify: Specify, keys: KeySpecification) -> int:
    """Calls that the messages cost, beside those for the keys themselves."""
    empty = small.parent / "empty"
    fill(empty, [])
    efforts = []
    for mailbox in (small, empty):
        with watched() as effort:
            jobs.run(specify("scan", mailbox, keys=keys))
        efforts.append(effort.calls)
    return efforts[0] - efforts[1]


def test_mail_costs_no_more_with_forty_keys_than_with_one(
    small: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    former = tmp_path / "former.pem"
    former.write_bytes(b"".join(map(_former_key, range(39))))
    all_keys = KeySpecification((keys.history, former))
    _effort_of_opening(small, specify, all_keys)  # imports, and caches
    one = _effort_of_opening(small, specify, KeySpecification((keys.history,)))
    forty = _effort_of_opening(small, specify, all_keys)
    assert forty < 1.05 * one


def test_what_trying_keys_may_cost_is_said_beforehand(
    small: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    class Warnings(NoProgress):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def warn(self, text: str, *, hint: str = "") -> None:
            self.texts.append(f"{text}; {hint}")

    bare = tmp_path / "bare.key"
    bare.write_bytes(keys.old.private_key.read_bytes())
    for tries in (True, False):
        heard = Warnings()
        specification = KeySpecification((bare, keys.stranger.private_key), try_keys=tries)
        jobs.run(specify("scan", small, keys=specification), heard)
        assert ["may cost 2 private-key operations" in text for text in heard.texts] == [
            True
        ] * tries


def test_what_a_worker_cannot_sync_is_not_in_the_log(
    small: Path, keys: Keys, faulty: FaultyProcess, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    words = ["decrypt", small, "--keys", keys.history, "--job", job, "--quiet", "--workers"]
    failing = fault("sync=EIO", under=(job / "checkpoints",))
    ended = faulty.command([*words, "1"], tmp_path, fault=failing, in_workers=True)
    assert (ended.code, bool(ended.met)) == (1, True)
    assert "make the checkpoints durable" in ended.err
    with closing(sqlite3.connect(job / "job.db")) as log:
        assert log.execute("SELECT count(*) FROM checkpoint").fetchone() == (0,)
    assert faulty.command([*words, "0"], tmp_path).code == 0


def test_taking_in_a_small_message_asks_no_more_than_it_must(
    keys: Keys, tmp_path: Path, specify: Specify
) -> None:
    efforts: list[Effort] = []
    for messages in (2, 2, MESSAGES):  # the first imports, and fills caches
        place = tmp_path / f"{len(efforts)}"
        mail = [encrypted(number, keys.old, inner=TEXT) for number in range(messages)]
        names = [f"cur/13000000{number:02}.M{number}P1.h:2,S" for number in range(messages)]
        fill(place, [Mail("", name, raw) for name, raw in zip(names, mail, strict=True)])
        with watched() as effort:
            jobs.run(specify("decrypt", place, job=tmp_path / f"job{len(efforts)}"))
        efforts.append(effort)
    _, few, many = efforts
    more = MESSAGES - 2
    assert (many.statements - few.statements) / more <= TAKING_IN_STATEMENTS
    assert (many.calls - few.calls) / more <= TAKING_IN_CALLS


# --- replacing ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """What replacing one small message may cost."""

    opened: float
    """Files that are opened, and streams that are made of them."""
    statements: float
    """Of SQL, in calls."""
    headers: int
    """Header blocks that are read."""
    decoded: int
    """Bodies that are decoded from base64."""
    read: Mapping[str, int]
    """Readings of a file from its first byte, by what it is."""


REPLACING = {
    # The worker, and nobody after; the copy that is kept; the plaintext; the proof, by what is
    # read back.
    "encrypt": Bounds(17, 8, 2, 2, {"old": 1, "originals": 1, "checkpoints": 1, "new": 1}),
    # It is examined first, with all others, so that a key found late serves all.
    "rewrap": Bounds(15, 14, 5, 3, {"old": 2, "originals": 1, "checkpoints": 0, "new": 1}),
    "rollback": Bounds(11, 8, 3, 1, {"old": 1, "originals": 1, "checkpoints": 0, "new": 1}),
}
BEFORE = {"encrypt": ["decrypt"], "rewrap": [], "rollback": ["decrypt", "encrypt"]}
ENDS = {
    "encrypt": State.REENCRYPTED,
    "rewrap": State.REWRAPPED,
    "rollback": State.ROLLED_BACK,
}


def _replaced(
    operation: str, keys: Keys, place: Path, specify: Specify, messages: int
) -> tuple[Effort, dict[str, set[str]]]:
    """What replacing some small messages cost, and the names of the files, by what they are."""
    mailbox, job = place / "Maildir", place / "job"
    mail = [encrypted(number, keys.old, inner=TEXT) for number in range(messages)]
    names = [f"cur/13000000{number:02}.M{number}P1.h:2,S" for number in range(messages)]
    fill(mailbox, [Mail("", name, raw) for name, raw in zip(names, mail, strict=True)])
    for before in BEFORE[operation]:
        jobs.run(specify(before, mailbox, job=job))
    old = {path.name for path in (mailbox / "cur").iterdir()}
    with watched() as effort:
        summary = jobs.run(specify(operation, mailbox, job=job))
    assert summary.counts == {ENDS[operation]: messages}
    new = {path.name for path in (mailbox / "cur").iterdir()}
    kept = {kind: {path.name for path in (job / kind).iterdir()} for kind in KEPT}
    return effort, {"old": old, "new": new | {name.partition(":")[0] for name in new}, **kept}


KEPT = ("originals", "checkpoints")


@pytest.mark.parametrize("operation", REPLACING)
def test_replacing_a_small_message_reads_and_asks_no_more_than_it_must(
    operation: str, keys: Keys, tmp_path: Path, specify: Specify, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with a clock so fine that no file is too young to tell whether it was changed.
    monkeypatch.setattr("sectool.sight.CLOCK_GRAIN", 0)
    few, _ = _replaced(operation, keys, tmp_path / "few", specify, 2)
    many, files = _replaced(operation, keys, tmp_path / "many", specify, MESSAGES)
    bounds = REPLACING[operation]
    more = MESSAGES - 2
    read = {kind: sum(many.read[name] for name in files[kind]) / MESSAGES for kind in bounds.read}
    assert read == bounds.read
    assert (len(many.opened) - len(few.opened)) / more <= bounds.opened
    assert (many.statements - few.statements) / more <= bounds.statements
    assert sum(many.headers.values()) <= bounds.headers * MESSAGES
    assert many.called["b64decode"] <= bounds.decoded * MESSAGES
