"""What the head of a message says is what all of it says, or nothing."""

from __future__ import annotations

import base64
import os
import quopri
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sectool import cms, smime
from sectool.message import BytesContent
from sectool.outcome import State
from tests.bad_inputs.algorithms import ALGORITHMS
from tests.bad_inputs.messages import MESSAGES
from tests.bad_inputs.people import make_forger
from tests.bad_inputs.structure import STRUCTURE
from tests.bad_inputs.vector import Envelope, Message
from tests.support import odd_mail

Mail = Callable[..., bytes]
ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"
SEED = 15
SAMPLE, ALL = 400, 20_000
"""Damaged messages."""

FIELDS = b"From: a@example.org\nSubject: corpus\nContent-Type: application/pkcs7-mime\n"


def encoded(raw: bytes, encoding: bytes) -> bytes:
    return FIELDS + b"Content-Transfer-Encoding: " + encoding + b"\n\n" + ENCODINGS[encoding](raw)


ENCODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"base64": base64.encodebytes,
    b"quoted-printable": quopri.encodestring,
    b"binary": bytes,
}


def _mail(envelope: bytes, *, whole: bool) -> Iterator[tuple[str, bytes]]:
    for directory in (ROOT / "sample_mailbox" / "mail", ROOT / "tests" / "cases"):
        for path in sorted(directory.rglob("*.eml")):
            yield str(path), path.read_bytes()
    for kinds in (odd_mail.opening, odd_mail.among_others, odd_mail.unreached):
        yield from odd_mail.variants(kinds(envelope))
    for path in sorted(CORPUS.rglob("*.*")):
        for encoding in ENCODINGS:
            yield f"{path} {encoding!r}", encoded(path.read_bytes(), encoding)
    if whole:
        forger = make_forger()
        vectors: Sequence[Envelope | Message] = (*STRUCTURE, *ALGORITHMS, *MESSAGES)
        for vector in vectors:
            raw = vector.make(forger)
            is_bare = isinstance(vector, Envelope)
            yield f"{vector.number} {vector.name}", encoded(raw, b"base64") if is_bare else raw


@pytest.fixture(scope="module")
def stored(envelope: bytes, *, whole: bool) -> dict[str, bytes]:
    """All mail of the tests and of the corpora, that of bad inputs with ``--all``."""
    if not CORPUS.is_dir() and os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
        pytest.fail("../shared/corpus is not here")
    return dict(_mail(envelope, whole=whole))


def glance(raw: bytes) -> cms.EnvelopeHead | None:
    return smime.glance(raw[: smime.GLANCE_SIZE], len(raw))


def agrees(raw: bytes) -> bool:
    """Whether the head said something; it was not worse than what all of the message says."""
    seen = glance(raw)
    if seen is None:
        return False
    inventory = smime.take_inventory(BytesContent(raw))
    assert inventory.state in {State.ENCRYPTED, State.MALFORMED, State.UNSUPPORTED}
    if inventory.state is State.ENCRYPTED:
        (part,) = inventory.parts
        described = part.envelope
        assert part.placement is smime.Placement.ROOT
        assert seen.recipients == tuple(one.identifier for one in described.recipients)
        assert seen.content_encryption_algorithm == described.content_encryption_algorithm
        assert seen.size == described.size
    return True


def test_a_head_says_of_all_mail_of_the_tests_what_the_whole_of_it_says(
    stored: dict[str, bytes],
) -> None:
    taken = [name for name, raw in stored.items() if agrees(raw)]
    assert len(taken) > 100
    assert len(stored) > 2 * len(taken)


def test_damage_anywhere_makes_no_mail_encrypted_that_is_clear_then(
    stored: dict[str, bytes], *, whole: bool
) -> None:
    chance = random.Random(SEED)
    sound = [raw for raw in stored.values() if len(raw) < 100_000 and glance(raw) is not None]
    said = sum(
        agrees(damaged(chance, chance.choice(sound))) for _ in range(ALL if whole else SAMPLE)
    )
    assert said > 20


PIECES = (
    *(b"\n", b"\r\n", b" ", b"=", b"==\n", b"\n\n", b"AAAA", b"\0", b":", b"X: y\n", b"--b\n"),
    *(b"Content-Type: text/plain\n", b"Content-Type: multipart/mixed; boundary=b\n"),
    *(b"Content-Transfer-Encoding: base64\n", b"MIME-Version: 1.0\n\n", b"text\n\n"),
    *(b"-----BEGIN PKCS7-----\n", b"-----BEGIN PGP MESSAGE-----\n\n"),
)


def damaged(chance: random.Random, raw: bytes) -> bytes:
    """The same with one to three faults, a third of them in the header or near its end."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        near = chance.random() < 1 / 3
        at = chance.randrange(min(len(raw), 700) if near else len(raw))
        match chance.choice(("flip", "cut", "leave out", "put in", "exchange")):
            case "flip":
                raw = raw[:at] + bytes((chance.randrange(256),)) + raw[at + 1 :]
            case "cut":
                raw = raw[: at + 1]
            case "leave out":
                raw = raw[:at] + raw[at + chance.choice((1, 2, 3, 4, 65, 66, 500)) :] or b"."
            case "put in":
                raw = raw[:at] + chance.choice(PIECES) + raw[at:]
            case _:
                other = chance.randrange(len(raw))
                first, second = sorted((at, other))
                raw = raw[:first] + raw[second : second + 40] + raw[first + 40 :]
    return raw


# --- what is taken by its head, and what is not ----------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_envelope_is_seen_under_each_encoding_where_nothing_stands_behind_it(
    envelope: bytes, encoding: bytes
) -> None:
    raw = encoded(envelope, encoding)
    seen = glance(raw)
    assert seen is not None
    assert (seen.size, len(seen.recipients)) == (len(envelope), 1)
    for behind in (b"a footer of a list\n", envelope, base64.encodebytes(envelope)):
        assert glance(raw + behind) is None
    for cut in (len(raw) // 2, len(raw) - 8):
        assert glance(raw[:cut]) is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("columns", [64, 76, 10**6])
def test_a_large_message_is_seen_by_its_head_and_missed_by_a_line_too_much_or_too_few(
    seal: Callable[..., bytes], columns: int, line_end: bytes
) -> None:
    envelope = seal(b"Content-Type: text/plain\r\n\r\n" + b"a line\r\n" * 20_000)
    text = base64.b64encode(envelope)
    lines = [text[at : at + columns] for at in range(0, len(text), columns)]
    head = encoded(b"", b"base64").replace(b"\n", line_end)
    raw = head + line_end.join(lines) + line_end
    assert glance(raw) is not None
    assert agrees(raw)
    behind = len(raw) // 2
    assert glance(raw[:behind] + raw[behind + 77 :]) is None
    assert glance(raw[:behind] + b"A" * 77 + raw[behind:]) is None
    assert smime.glance(raw[: smime.GLANCE_SIZE - 1], len(raw)) is None


NOT_TOLD: dict[str, Callable[[bytes], bytes]] = {
    "clear": lambda _: b"From: a\nSubject: b\n\nhello\n",
    "empty": lambda _: b"",
    "a header alone": lambda _: FIELDS,
    "no header": base64.encodebytes,
    "a text": lambda raw: b"From: a\nContent-Type: text/plain\n\n" + base64.encodebytes(raw),
    "two types": lambda raw: b"Content-Type: text/plain\n" + encoded(raw, b"base64"),
    "a message": lambda raw: encoded(raw, b"base64").replace(
        b"application/pkcs7-mime", b"message/rfc822"
    ),
    "a multipart": lambda raw: encoded(raw, b"base64").replace(
        b"application/pkcs7-mime", b"multipart/mixed; boundary=b"
    ),
    "a long header": lambda raw: b"To: a@example.org\n" * 1000 + encoded(raw, b"base64"),
    "PEM": lambda raw: FIELDS + b"\n" + odd_mail.armour(raw) + b"\n",
    "a stray character": lambda raw: encoded(raw, b"base64").replace(b"\nMI", b"\nM I"),
    "rights management": lambda raw: (
        b'Content-Disposition: x; filename="message.rpmsg"\n' + encoded(raw, b"base64")
    ),
    "compressed by a server": lambda raw: b"BZh" + encoded(raw, b"base64"),
    "of indefinite length": lambda raw: encoded(b"\x30\x80" + raw[4:] + bytes(2), b"base64"),
}


@pytest.mark.parametrize("kind", NOT_TOLD)
def test_a_head_says_nothing_of_what_has_to_be_read(envelope: bytes, kind: str) -> None:
    assert envelope[1] == 0x82  # two octets of length
    assert glance(encoded(envelope, b"base64")) is not None
    assert glance(NOT_TOLD[kind](envelope)) is None
