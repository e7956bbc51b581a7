"""Encrypted mail as people have it is never called clear, and what is taken opens afterwards."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from pathlib import Path

import pytest

from sectool import jobs, smime
from sectool.keys import KeySpecification
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support import checker, odd_mail
from tests.support.checker import Key
from tests.support.mailboxes import Mail, fill, make_key

CASES = Path(__file__).parent
OPENS = {
    "clear-dup-content-type/dup-ct-html-first-nodisp",
    "clear-dup-content-type/dup-ct-plain-first",
    "clear-headers-after-blank/eml-parse-js-47",
    "clear-headers-after-blank/c2-headers-in-body-text",
    "clear-headers-after-blank/c3-smime-in-text-openssl",
    "clear-headers-after-blank/doublelf",
    "clear-eml-attachment/e2-eml-octet-7bit",
    "clear-eml-attachment/fwd-application_x-eml",
    "clear-eml-attachment/fwd-message_x-rfc822",
    "clear-eml-attachment/dsn",
    "clear-cms-in-text-body/a-textpem",
    "b64-chunk-padded/b64-chunk-padded",
    "b64-text-before/i-banner-before",
    "b64-text-before/phpimap-198-top",
}
"""What is taken whole; of the rest this says why it is not, or that it is one part of several."""
STAYS = {
    "clear-eml-attachment/e4-eml-textplain": "encoded attachment",
    "clear-cms-in-text-body/a2-textpemcms": "in the text of the message",
    "clear-rpmsg-notes/j-rpmsg": "message.rpmsg",
    "clear-rpmsg-notes/k-notes": "encrypted.notes",
}
AMONG_OTHERS = {
    "clear-multipart-lost/bnd-none",
    "clear-multipart-lost/bnd-single-quotes",
    "clear-multipart-lost/emlparser-5",
    "clear-multipart-lost/epilogue",
    "clear-cms-in-text-body/za-textattach-b64",
}
OLD = Key(
    CASES / "clear-dup-content-type/keys/old.pem", CASES / "clear-dup-content-type/keys/old.key"
)


def inventory(raw: bytes) -> smime.Inventory:
    return smime.take_inventory(BytesContent(raw))


def case(name: str) -> bytes:
    return (CASES / f"{name}.eml").read_bytes()


def cms_in(raw: bytes) -> bytes:
    """The CMS in a stored message, as whoever looks for its base64 finds it."""
    run = re.search(rb"^MI[A-Za-z0-9+/]{50}[A-Za-z0-9+/=\r\n]+", raw, re.MULTILINE)
    assert run
    return b"".join(
        base64.b64decode(piece) for piece in re.findall(rb"[^=]+={0,2}", b"".join(run[0].split()))
    )


def opened(raw: bytes, key: Key) -> bytes:
    """What OpenSSL makes of the CMS in a stored message."""
    found = checker.opened(cms_in(raw), key)
    assert found is not None
    return found


def around(raw: bytes) -> list[bytes]:
    """The lines of a message without those of base64 and of the fields that describe it."""
    folded = re.sub(rb"(?:\r*\n)+[ \t]+", b" ", raw)
    content = (b"content-", b"--", b"mime-version", b"-----")
    return [
        line
        for line in re.split(rb"[\r\n]+", folded)
        if line.strip() and not line.lower().startswith(content)
        if not re.fullmatch(rb"[A-Za-z0-9+/=]{40,}|[A-Za-z0-9+/]*=*", line)
    ]


@pytest.fixture(scope="module")
def cms() -> bytes:
    return cms_in(case("clear-dup-content-type/dup-ct-plain-first"))


@pytest.mark.parametrize("name", sorted(OPENS))
def test_a_case_is_encrypted(name: str) -> None:
    found = inventory(case(name))
    assert (found.state, found.reason, len(found.parts)) == (State.ENCRYPTED, "", 1)


@pytest.mark.parametrize("name", STAYS)
def test_a_case_that_cannot_be_put_back_says_where_it_lies(name: str) -> None:
    found = inventory(case(name))
    assert found.state is State.UNSUPPORTED
    assert STAYS[name] in found.reason


@pytest.mark.parametrize("name", sorted(AMONG_OTHERS))
def test_a_part_that_strict_readers_do_not_find_is_found(name: str) -> None:
    (part,) = inventory(case(name)).parts
    assert part.path == "2"


def test_there_is_an_answer_for_every_case() -> None:
    folders = {name.partition("/")[0] for name in OPENS | AMONG_OTHERS | STAYS.keys()}
    there = {
        f"{folder}/{path.stem}" for folder in folders for path in (CASES / folder).glob("*.eml")
    }
    assert there == OPENS | AMONG_OTHERS | STAYS.keys()


@lru_cache
def built(kinds: str, cms: bytes) -> dict[str, bytes]:
    return dict(odd_mail.variants(getattr(odd_mail, kinds)(cms)))


def names_of(kinds: str) -> list[str]:
    return list(built(kinds, b"\x30\x82" + bytes(600)))


def variant(kinds: str, cms: bytes, name: str) -> bytes:
    return built(kinds, cms)[name]


@pytest.mark.parametrize("name", names_of("opening"))
def test_a_kind_of_encrypted_mail_is_found_in_its_place(name: str, cms: bytes) -> None:
    found = inventory(variant("opening", cms, name))
    (part,) = found.parts
    assert part.envelope.size == len(cms)
    assert found.state is State.ENCRYPTED


@pytest.mark.parametrize("name", names_of("among_others"))
def test_a_kind_of_encrypted_part_is_found_in_its_place(name: str, cms: bytes) -> None:
    (part,) = inventory(variant("among_others", cms, name)).parts
    assert part.envelope.size == len(cms)


@pytest.mark.parametrize("name", names_of("unreached"))
def test_an_envelope_out_of_reach_is_unsupported_and_its_recipients_are_named(
    name: str, cms: bytes
) -> None:
    found = inventory(variant("unreached", cms, name))
    assert found.state is State.UNSUPPORTED
    covered = [one.part.envelope.recipients for one in found.covered]
    recipients = [*covered, *(one.recipients for one in found.unreached)]
    assert found.hidden or any(recipients)


@pytest.mark.parametrize("name", names_of("beside_the_state"))
def test_an_envelope_inside_another_format_counts_and_leaves_the_state(
    name: str, cms: bytes
) -> None:
    found = inventory(variant("beside_the_state", cms, name))
    assert found.state is State.CLEAR
    (one,) = found.unreached
    assert (len(one.recipients), one.is_complete, one.sets_state) == (1, True, False)


def test_everything_taken_opens_with_the_new_key_and_keeps_what_is_around(
    cms: bytes, tmp_path: Path
) -> None:
    """The whole move, of each kind with either line end, and in a forward."""
    kinds = {name: case(name) for name in sorted(OPENS)}
    kinds |= dict(odd_mail.variants(odd_mail.opening(cms)))
    maildir, job = tmp_path / "Maildir", tmp_path / "job"
    names = {f"cur/{1_300_000_000 + at}.M{at}.h:2,": name for at, name in enumerate(kinds)}
    fill(maildir, [Mail("", file, kinds[name]) for file, name in names.items()])
    new = make_key(tmp_path, "new")
    old = KeySpecification((OLD.private_key.parent,), None, None)
    decrypt = jobs.Decrypt(mailbox=str(maildir), job=job, keys=old, workers=0)
    summary = jobs.run(decrypt)
    assert summary.counts == {State.CHECKPOINTED: len(kinds)}
    encrypt = jobs.Encrypt(
        mailbox=str(maildir),
        job=job,
        new_certificates=(new.certificate,),
        workers=0,
    )
    assert jobs.run(encrypt).counts == {State.REENCRYPTED: len(kinds)}
    # Each keeps the time when it was received, which tells them apart.
    stored = sorted((maildir / "cur").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path, name in zip(stored, names.values(), strict=True):
        raw = path.read_bytes()
        plaintext = opened(kinds[name], OLD)
        assert opened(raw, new) == plaintext, name
        assert around(raw) == around(kinds[name]), name
        assert checker.opened(cms_in(raw), OLD) is None


def test_no_plaintext_goes_where_not_every_reader_looks(cms: bytes, tmp_path: Path) -> None:
    odd = {
        name: raw
        for name, raw in odd_mail.opening(cms).items()
        if not name.startswith(("mbox line", "quoted mbox"))
        and not any(
            name.startswith(word)
            for word in ("text/", "multipart first", "armour", "base64", "without any")
        )
    }
    maildir = tmp_path / "Maildir"
    files = [f"cur/{1_300_000_000 + at}.M{at}.h:2," for at in range(len(odd))]
    fill(maildir, [Mail("", file, raw) for file, raw in zip(files, odd.values(), strict=True)])
    summary = jobs.run(
        jobs.Decrypt(
            mailbox=str(maildir),
            job=tmp_path / "job",
            keys=KeySpecification((OLD.private_key.parent,), None, None),
            in_place=True,
            nested=True,
            workers=0,
        )
    )
    assert summary.counts == {State.CHECKPOINTED: len(odd)}
    assert {path.read_bytes() for path in (maildir / "cur").iterdir()} == set(odd.values())
