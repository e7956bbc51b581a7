"""CMS as people's programs write it: each case has the answer that its page gives."""

from __future__ import annotations

import base64
import email
import io
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import pytest

from sectool import cms, jobs, smime
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import NotAccepted
from sectool.keys import KeySpecification, load_key_history
from sectool.message import BytesContent
from sectool.outcome import Integrity, State
from sectool.summary import Summary
from tests.support.forge import Forge, Person, key_ring, make_person
from tests.support.mailboxes import Mail, fill, make_key, openssl
from tests.support.specifications import Fields, fitting, specification

CASES = Path(__file__).parent
TAG = "the tag is missing or does not verify"


@dataclass(frozen=True)
class Right:
    """What is to be said of a message."""

    state: State
    reason: str = ""
    """A part of it."""
    defect: str = ""
    integrity: Integrity | None = Integrity.NONE
    """Of what opens."""
    keys: str = "keys"
    """Directory beside it."""


OPENS = Right(State.READABLE)
REVIEW = Right(State.REVIEW, "to take it all the same: --accept ")
RIGHT = {
    "headerless-8bit/latin1": REVIEW,
    "headerless-8bit/sjis": REVIEW,
    "headerless-8bit/utf16": REVIEW,
    "headerless-8bit/gz": REVIEW,
    "headerless-8bit/utf8": REVIEW,
    "rsa-short/rsa-long": Right(
        State.MALFORMED, "encryptedKey has 257 bytes; the key that its recipient names takes 256"
    ),
    "gcm-in-enveloped/gcm-in-env-bc": Right(State.READABLE, integrity=Integrity.AEAD),
    "gcm-in-enveloped/gcm-in-env-pkijs": Right(State.READABLE, integrity=Integrity.AEAD),
    "gcm-in-enveloped/gcm-in-env-notag-params": Right(State.UNSUPPORTED, TAG),
    "kari-null-mismatch/kari-bothnull": OPENS,
    "kari-null-mismatch/kari-ok": OPENS,
    "kari-null-mismatch/kari-ukm-ok": OPENS,
    "content-type-oid/weird-type": OPENS,
    "content-type-oid/sd-inner-dotnet": Right(State.READABLE, integrity=Integrity.SIGNED_UNMATCHED),
    "rid-odd/issuer-reversed": Right(State.READABLE, defect="named oddly: its issuer is written"),
    "rid-odd/ski-ext-value": Right(
        State.READABLE, defect="named oddly: its key identifier is wrap"
    ),
}


def raw_of(case: str) -> bytes:
    return (CASES / f"{case}.eml").read_bytes()


def run(
    directory: Path, messages: list[bytes], operation: str, **options: Unpack[Fields]
) -> Summary:
    """One command on a mailbox of these messages, which is made where it is not there."""
    maildir = directory / "Maildir"
    if not maildir.exists():
        fill(
            maildir,
            [Mail("", f"cur/14{n:08}.M1P1.host:2,S", raw) for n, raw in enumerate(messages)],
        )
    return jobs.run(
        specification(operation, maildir, **fitting(operation, {"workers": 0}, options))
    )


@pytest.mark.parametrize("case", RIGHT)
def test_a_case_has_its_right_answer(case: str, tmp_path: Path) -> None:
    right = RIGHT[case]
    keys = CASES / case.split("/", maxsplit=1)[0] / right.keys
    summary = run(tmp_path, [raw_of(case)], "scan", keys=KeySpecification((keys,)))
    assert +summary.counts == {right.state: 1}
    for entry in summary.not_done:
        assert right.reason in entry.reason
    assert [right.defect in defect for defect in summary.defects] == [True] * bool(right.defect)
    if right.state is State.READABLE:
        assert {integrity for integrity, _ in summary.integrity} == {right.integrity}


@pytest.mark.parametrize("case", ["rid-odd/issuer-reversed", "rid-odd/ski-ext-value"])
def test_a_key_without_its_certificate_opens_where_it_is_tried(case: str, tmp_path: Path) -> None:
    keys = KeySpecification((CASES / "rid-odd" / "keys-bare",), try_keys=True)
    assert +run(tmp_path, [raw_of(case)], "scan", keys=keys).counts == {State.READABLE: 1}


def test_the_envelope_beside_an_empty_text_opens() -> None:
    keys = KeySpecification((CASES / "footer-beside-p7m" / "keys",))
    raw = raw_of("footer-beside-p7m/proton-empty")
    assert inner_of(raw, load_key_history(keys, None)).startswith(b"Content-Type: ")


def test_a_message_to_a_crowd_opens_and_writes_a_bounded_table(
    tmp_path: Path, bob: Person, forge: Forge
) -> None:
    identifier = bob.recipient.identifier
    assert isinstance(identifier, cms.IssuerAndSerialNumber)
    crowd = [
        forge.recipient(
            identifier=replace(identifier, serial_number=number), encrypted_key=bytes(256)
        )
        for number in range(1, 4_001)
    ]
    (tmp_path / "bob.pem").write_bytes(bob.pem())
    options: Fields = {"keys": KeySpecification((tmp_path / "bob.pem",)), "job": tmp_path / "job"}
    raw = mail(forge.cbc(recipients=[*crowd, forge.recipient()]))
    summary = run(tmp_path, [raw], "decrypt", **options)
    assert +summary.counts == {State.CHECKPOINTED: 1}
    assert len(summary.keys_in_history) == 1
    assert len(summary.keys) == cms.DEFAULT_LIMITS.recipients + 1
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as log:
        (rows,) = log.execute("SELECT count(*) FROM recipient").fetchone()
    assert rows == cms.DEFAULT_LIMITS.recipients + 1


OPENED = [case for case, right in RIGHT.items() if right.state is State.READABLE]


def test_what_opens_is_moved_and_read_with_the_new_key_by_openssl(tmp_path: Path) -> None:
    """Whole jobs: the inner bytes are those that the old key gives."""
    keys = KeySpecification((CASES / "rid-odd" / "keys",))  # of all these folders the same
    history = load_key_history(keys, None)
    new = make_key(tmp_path, "new")
    messages = [raw_of(case) for case in OPENED]
    job = tmp_path / "job"
    decrypted = run(tmp_path, messages, "decrypt", keys=keys, job=job)
    assert +decrypted.counts == {State.CHECKPOINTED: len(OPENED)}
    sealed = run(tmp_path, [], "encrypt", new_certificates=(new.certificate,), job=job)
    assert +sealed.counts == {State.REENCRYPTED: len(OPENED)}
    found: list[bytes] = []
    for number, path in enumerate((tmp_path / "Maildir" / "cur").iterdir()):
        envelope = email.message_from_bytes(path.read_bytes()).get_payload(decode=True)
        assert isinstance(envelope, bytes)
        source = tmp_path / f"envelope-{number}"
        source.write_bytes(envelope)
        whose = ("-inkey", new.private_key, "-recip", new.certificate)
        found.append(openssl("cms", "-decrypt", "-binary", "-inform", "DER", "-in", source, *whose))
    assert sorted(found) == sorted(inner_of(raw, history) for raw in messages)


def test_rewrap_refuses_gcm_in_enveloped_data_unless_it_may_encrypt_anew(tmp_path: Path) -> None:
    new = make_key(tmp_path, "new")
    case = [raw_of("gcm-in-enveloped/gcm-in-env-bc")]
    options: Fields = {
        "keys": KeySpecification((CASES / "gcm-in-enveloped" / "keys",)),
        "new_certificates": (new.certificate,),
        "job": tmp_path / "job",
    }
    assert +run(tmp_path, case, "rewrap", **options).counts == {State.REFUSED: 1}
    options["or_reencrypt"] = True
    anew = run(tmp_path, case, "rewrap", **options)
    assert +anew.counts == {State.REENCRYPTED: 1}


def inner_of(raw: bytes, keys: cms.KeySource) -> bytes:
    content = BytesContent(raw)
    (part,) = smime.take_inventory(content).parts
    sink = io.BytesIO()
    smime.find_opening(part, keys).inner.write_to(sink)
    return sink.getvalue()


# --- short and header-less contents in any charset -------------------------------------------

GREETING = "Schöne Grüße an alle, und bis morgen"
CONTENTS: dict[str, bytes] = {
    **{
        charset: text.encode(charset)
        for charset, text in {
            "iso-8859-1": GREETING,
            "iso-8859-15": "2 € für Grüße",
            "windows-1252": "“Grüße” und 2 €…",
            "macroman": GREETING,
            "cp437": GREETING,
            "iso-8859-2": "Zażółć gęślą jaźń",
            "windows-1250": "Příliš žluťoučký kůň",
            "iso-8859-5": "До завтра, Анна",
            "koi8-r": "До завтра, Анна",
            "windows-1251": "До завтра, Анна",
            "cp866": "До завтра, Анна",
            "iso-8859-7": "λέμε",
            "windows-1255": "נתראה מחר",
            "windows-1256": "أراك غدا",
            "tis-620": "พบกันพรุ่งนี้",
            "shift_jis": "こんにちは、元気ですか",
            "euc-jp": "こんにちは、元気ですか",
            "iso2022_jp": "こんにちは、元気ですか",
            "gb2312": "明天见谢谢你",
            "gb18030": "明天见谢谢你",
            "big5": "明天見謝謝你",
            "euc-kr": "내일 만나요",
            "utf-8": GREETING,
            "utf-16": "Hello, see you tomorrow",
            "utf-16-le": "Grüße",
            "utf-16-be": GREETING,
            "utf-32": "hello",
            "utf-7": GREETING,
        }.items()
    },
    "ebcdic": GREETING.encode("cp500"),
    "gzip": zlib.compress(b"hello " * 9, wbits=31),
    "zlib": zlib.compress(b"hello " * 9),
    "png": bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"),
    "jpeg": bytes.fromhex("ffd8ffe000104a46494600010101006000600000") + bytes(range(256)),
    "random": bytes.fromhex("c0ffee8f1b") * 3,
    "one byte": b"\xfe",
    "NULs": bytes(40),
}


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plans.txt", bytes(range(256)) * 4)
    return buffer.getvalue()


CONTENTS["zip"] = zipped()


@pytest.fixture(scope="module")
def bob() -> Person:
    return make_person("bob")


@pytest.fixture(scope="module")
def forge(bob: Person) -> Forge:
    return Forge(bob)


def mail(envelope: bytes) -> bytes:
    return (
        b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(envelope)
    )


@pytest.mark.parametrize("name", CONTENTS)
def test_content_without_a_header_is_for_a_person_and_can_be_taken(
    name: str, bob: Person, forge: Forge
) -> None:
    content = BytesContent(mail(forge.cbc(CONTENTS[name])))
    (part,) = smime.take_inventory(content).parts
    digest = part.envelope.digest
    with pytest.raises(NotAccepted, match=f"--accept {digest}$"):
        smime.find_opening(part, key_ring(bob))
    sink = io.BytesIO()
    smime.find_opening(part, key_ring(bob), released=frozenset({digest})).inner.write_to(sink)
    assert sink.getvalue() == CONTENTS[name]


# --- contents of other types ------------------------------------------------------------------

Wrap = Callable[[bytes], bytes]
SIGNED = der.sequence(
    der.integer(1),
    der.set_of([der.sequence(der.oid(oids.SHA256))]),
    der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(b"plans"))),
    der.set_of([]),
)
FORMS: dict[str, tuple[bytes, Wrap]] = {
    "with its ContentInfo": (
        SIGNED,
        lambda signed: der.sequence(der.oid(oids.SIGNED_DATA), der.explicit(0, signed)),
    ),
    "without its ContentInfo": (SIGNED, lambda signed: signed),
    "without its own tag and length": (SIGNED, lambda signed: signed[2:]),
}


@pytest.mark.parametrize("form", FORMS)
def test_signed_data_opens_in_each_of_its_forms(form: str, bob: Person, forge: Forge) -> None:
    signed, wrap = FORMS[form]
    assert signed[1] < 128  # one octet of length
    raw = forge.cbc(wrap(signed)).replace(der.oid(oids.ID_DATA), der.oid(oids.SIGNED_DATA), 1)
    content = BytesContent(mail(raw))
    (part,) = smime.take_inventory(content).parts
    inner = smime.find_opening(part, key_ring(bob)).inner
    assert (inner.content_type, inner.has_header_block) == (oids.SIGNED_DATA, False)
    found = smime.look_inside(smime.content_of(inner), inner.content_type)
    assert not found.problem


def test_an_envelope_under_a_signature_without_tag_and_length_is_seen(
    bob: Person, forge: Forge
) -> None:
    under = mail(forge.cbc())
    signed = b"".join(
        (
            der.integer(1),
            der.set_of([der.sequence(der.oid(oids.SHA256))]),
            der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(under))),
            der.set_of([]),
        )
    )
    found = smime.look_inside(BytesContent(signed), oids.SIGNED_DATA)
    assert [covered.part.envelope.recipients_total for covered in found.covered] == [1]


def test_an_envelope_in_content_of_a_type_nobody_knows_is_seen(forge: Forge) -> None:
    found = smime.look_inside(BytesContent(mail(forge.cbc())), "0.0")
    assert len(found.parts) == 1
