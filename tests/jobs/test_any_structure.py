"""Messages of random structure come through a move as they were, whatever lies in what."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.keys import KeySpecification
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support import checker
from tests.support.checker import Key
from tests.support.layers import encrypt
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify

MESSAGES = 12
EVERYTHING = smime.PartSelection(break_signatures=True)
TO_BE_ENCRYPTED = (State.CHECKPOINTED, State.DECRYPTED)


class Builder:
    """Makes messages in which text, multiparts, forwards and envelopes lie in each other."""

    def __init__(self, seed: int, seal: Callable[[bytes], bytes]) -> None:
        self._random = random.Random(seed)
        self._seal = seal
        self._number = 0

    def message(self) -> bytes:
        """A message with an envelope in it."""
        while True:
            raw = self._message(self._entity(4))
            if b"pkcs7-mime" in raw:
                return raw

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _message(self, entity: bytes) -> bytes:
        number = self._next()
        fields = b"From: a@example.org\r\nMessage-ID: <%d@example.org>\r\n" % number
        fields += b"MIME-Version: 1.0\r\n" if self._chance(0.8) else b""
        fields += b"X-Folded: one\r\n two\r\n" if self._chance(0.2) else b""
        fields += b"no field at all\r\n" if self._chance(0.05) else b""
        return fields + entity

    def _entity(self, depth: int) -> bytes:
        kind = self._random.randrange(4) if depth else 0
        if kind == 1:
            return self._seal(self._entity(depth - 1))
        if kind == 2:
            parts = [self._entity(depth - 1) for _ in range(self._random.randrange(1, 4))]
            return self._multipart(parts)
        if kind == 3:
            inner = self._message(self._entity(depth - 1))
            return b"Content-Type: message/rfc822\r\n\r\n" + inner
        return self._text()

    def _text(self) -> bytes:
        fields = b"Content-Type: text/plain\r\n"
        fields += b"Content-Language: en\r\n" if self._chance(0.2) else b""
        fields += b"Subject: protected\r\n" if self._chance(0.1) else b""
        text = b"text %d\r\n" % self._next() * self._random.randrange(1, 5)
        text += b"\r\n" * self._random.randrange(4) if self._chance(0.3) else b""
        text += b"--b1\r\n" if self._chance(0.1) else b""
        return fields + b"\r\n" + (text.rstrip(b"\r\n") if self._chance(0.3) else text)

    def _multipart(self, parts: list[bytes]) -> bytes:
        boundary = b"b%d" % (1 if self._chance(0.2) else self._next())
        subtype = self._random.choice([b"mixed", b"alternative", b"digest"])
        text = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (subtype, boundary)
        text += b"preamble\r\n" if self._chance(0.2) else b""
        text += b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
        text += b"--" + boundary + b"--" if self._chance(0.9) else b""
        text += b"\r\n" if self._chance(0.7) else b""
        return text + (b"epilogue\r\n" if self._chance(0.2) else b"")


def plaintexts(raw: bytes, *keys: checker.Key) -> list[bytes]:
    """What is not encrypted any more of all that these keys open, in order."""
    found: list[bytes] = []
    for envelope in checker.envelopes(raw):
        opened = (checker.opened(envelope, key) for key in keys)
        inner = next((text for text in opened if text is not None), None)
        if inner is not None:
            found += plaintexts(inner, *keys) if checker.envelopes(inner) else [inner]
    return found


def outside(raw: bytes) -> list[bytes]:
    """All bytes of a message but its encrypted parts, a MIME-Version that came, and line ends."""
    position, found = 0, []
    for part in smime.take_inventory(BytesContent(raw)).parts:
        found.append(raw[position : part.header.start])
        fields = [one.raw for one in part.header.fields if not one.name.startswith(b"content-")]
        found += [field for field in fields if not field.startswith(b"MIME-Version")]
        position = part.body_end
    return [text.replace(b"\r\n", b"\n") for text in [*found, raw[position:]]]


def is_opened(raw: bytes, key: Key) -> bool:
    """Whether openssl opens an envelope that the standard library finds."""
    return any(checker.opened(one, key) is not None for one in checker.envelopes(raw))


def by_name(maildir: Path) -> dict[bytes, bytes]:
    return {
        mail.raw.replace(b"\r\n", b"\n").split(b"Message-ID: ")[1].split(b"\n")[0]: mail.raw
        for mail in checker.stored_mail(maildir)
    }


@pytest.mark.parametrize("in_place", [False, True], ids=["checkpoints", "in place, nested"])
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.all_only) for seed in range(2, 6))]
)
def test_all_that_opens_is_encrypted_again_and_nothing_else_changes(
    seed: int, in_place: bool, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    builder = Builder(seed, lambda entity: encrypt(entity, keys.old))
    maildir = tmp_path / "Maildir"
    raws = [builder.message() for _ in range(MESSAGES)]
    names = [f"cur/13000000{number:02}.M1P1.host:2,S" for number in range(MESSAGES)]
    in_lf = [raw.replace(b"\r\n", b"\n") if number % 3 else raw for number, raw in enumerate(raws)]
    fill(maildir, [Mail("", *one) for one in zip(names, in_lf, strict=True)])
    before = by_name(maildir)
    options: Fields = {"in_place": in_place, "nested": in_place, "wrapped": in_place}
    options["part_selection"] = EVERYTHING
    decrypted = jobs.run(specify("decrypt", maildir, **options))
    assert not decrypted.counts[State.FAILED]
    wanted = sum(decrypted.counts[state] for state in TO_BE_ENCRYPTED)
    assert wanted > MESSAGES // 4
    assert bool(decrypted.counts[State.DECRYPTED]) == in_place

    encrypted = jobs.run(specify("encrypt", maildir))
    assert encrypted.counts[State.REENCRYPTED] == wanted
    after = by_name(maildir)
    assert after.keys() == before.keys()
    changed = [name for name in before if after[name] != before[name]]
    assert len(changed) == wanted
    for name in changed:
        assert outside(after[name]) == outside(before[name])
        assert plaintexts(after[name], keys.new, keys.old) == plaintexts(before[name], keys.old)

    # The parser of the standard library does not see every envelope.
    seen = [name for name in changed if is_opened(before[name], keys.old)]
    assert len(seen) > wanted // 2
    assert [name for name in changed if is_opened(after[name], keys.new)] == seen

    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    assert jobs.run(specify("verify", None, verify_keys=new)).counts[State.VERIFIED] == wanted
    jobs.run(specify("rollback", None))
    assert by_name(maildir) == before
