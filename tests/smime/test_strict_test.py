"""The strict test: what is certainly mail, what a person must look at, what is garbage."""

from __future__ import annotations

import ast
import io
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from sectool import cms
from sectool.smime.opening.strict_test import PlaintextWitness, Verdict

ROOT = Path(__file__).parents[2]

CONTENT_INFO = b"\x30\x1e\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x11" + bytes(17)
INDEFINITE = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80" + bytes(4)
SIGNED_DATA_ALONE = b"\x30\x0e\x02\x01\x01\x31\x00" + bytes(9)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("plans", random.Random(1).randbytes(5000))
    return buffer.getvalue()


def judge(content: bytes, content_type: str = cms.ID_DATA, step: int = 0) -> Verdict:
    witness = PlaintextWitness(content_type)
    step = step or max(len(content), 1)
    for start in range(0, len(content), step):
        witness.write(content[start : start + step])
    return witness.judge()[0]


MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%s\r\n\r\n%s\r\n--b--\r\n"

CERTAIN = {
    "text": b"Content-Type: text/plain\r\n\r\nhello\r\n",
    "LF": b"Content-Type: text/plain\n\nhello\n",
    "only From": b"From: a@example.org\r\n\r\nhello\r\n",
    "8-bit header": b"X-A: \xe4\r\nSubject: \xff\r\n\r\nhello\r\n",
    "ISO-2022 header": b"Subject: \x1b$B$3$s\x1b(B\r\n\r\nhello\r\n",
    "long line": b"X-A: " + b"x" * 5000 + b"\r\nFrom: a\r\n\r\nhello\r\n",
    "empty body": b"Content-Type: text/plain\r\n\r\n",
    "nothing but a header": b"Content-Type: text/plain\r\n",
    "multipart": MULTIPART % (b"A: 1", b"x"),
    "B71 zip, binary": b"Content-Transfer-Encoding: binary\r\nContent-Type: application/zip\r\n\r\n"
    + zipped(),
    "B71 zip, binary in a part": MULTIPART
    % (b"Content-Transfer-Encoding: binary", zipped().replace(b"--b", b"")),
    "DER": CONTENT_INFO,
    "BER": INDEFINITE,
    "mbox separator": b"From a@b Mon Jan 7\r\nFrom: a\r\n\r\nx",
}


@pytest.mark.parametrize("name", CERTAIN)
def test_mail_is_certain(name: str) -> None:
    assert judge(CERTAIN[name]) is Verdict.PLAINTEXT


@pytest.mark.parametrize("name", CERTAIN)
def test_the_verdict_does_not_depend_on_how_the_content_comes(name: str) -> None:
    assert judge(CERTAIN[name], step=1) is Verdict.PLAINTEXT


ODD = {
    "B72 no header": b"Dear Bob,\r\n\r\nthe plans are in the blue folder.\r\n",
    "B72 short text": b"yes",
    "B72 text in UTF-8": "Schöne Grüße aus Köln".encode(),
    "B72 text in a Latin alphabet": b"Sch\xf6ne Gr\xfc\xdfe aus K\xf6ln an alle, die das lesen" * 3,
    "nothing": b"",
    "blank lines first": b"\r\n\r\nContent-Type: text/plain\r\n\r\nhello\r\n",
    "unknown fields only": b"X-Mine: 1\r\nX-Yours: 2\r\n\r\nhello\r\n",
    "To alone": b"To: bob@example.org\r\n\r\nhello\r\n",
    "no blank line": b"From: a@example.org\r\nhello there\r\n",
    "boundary missing": b"Content-Type: multipart/mixed; boundary=b\r\n\r\nhello\r\n",
    "no boundary named": b"Content-Type: multipart/mixed\r\n\r\nhello\r\n",
    "unreadable Content-Type": b"Content-Type: text\r\n\r\nhello\r\n",
    "NUL in text": b"Content-Type: text/plain\r\n\r\nhello\0\r\n",
    "NUL in the header": b"Content-Type: text/plain\r\nX: \0\r\n\r\nhello\r\n",
    "DER with something after it": CONTENT_INFO + b"\r\n",
    "DER cut short": CONTENT_INFO[:-1],
    "header of two megabytes": b"From: a\r\n" + b"X: y\r\n" * 350_000 + b"\r\nx",
    "a document": b"%PDF-1.7\n" + bytes(range(256)) * 10,
}


@pytest.mark.parametrize("name", ODD)
def test_what_may_be_odd_mail_is_for_a_person(name: str) -> None:
    assert judge(ODD[name]) is Verdict.ODD


STRUCTURES = {
    "ContentInfo": (CONTENT_INFO, Verdict.PLAINTEXT),
    "BER": (INDEFINITE, Verdict.PLAINTEXT),
    "SignedData": (SIGNED_DATA_ALONE, Verdict.PLAINTEXT),
    "cut short": (CONTENT_INFO[:-2], Verdict.ODD),
    "BER cut short": (INDEFINITE[:-3], Verdict.ODD),
    "MIME": (CERTAIN["text"], Verdict.GARBAGE),
}


PKCS7 = bytes.fromhex("02010131003009 06092a864886f70d010701".replace(" ", ""))
"""What a SignedData holds, as PKCS #7 has it encrypted: without its own tag and length."""
INSIDE_OUT = {
    "whole": (PKCS7 + b"\x31\x05" + bytes(5), Verdict.PLAINTEXT),
    "with a certificate": (
        PKCS7 + b"\xa0\x82\x01\x00" + bytes(256) + b"\x31\0",
        Verdict.PLAINTEXT,
    ),
    "cut short": (PKCS7 + b"\x31\x05" + bytes(4), Verdict.GARBAGE),
    "cut in a header": (PKCS7 + b"\xa0\x82\x01", Verdict.GARBAGE),
    "followed by noise": (PKCS7 + b"\x31\0\r\n\r", Verdict.GARBAGE),
    "of no type of PKCS": (PKCS7.replace(b"\x2a\x86\x48", b"\x2a\x86\x49"), Verdict.GARBAGE),
    "of indefinite length": (PKCS7 + b"\x31\x80\0\0", Verdict.GARBAGE),
}


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("name", INSIDE_OUT)
def test_the_contents_octets_alone_are_certain_where_they_end_whole(name: str, step: int) -> None:
    content, verdict = INSIDE_OUT[name]
    assert judge(content, cms.SIGNED_DATA, step) is verdict
    assert judge(content, cms.ID_DATA, step) is Verdict.GARBAGE


@pytest.mark.parametrize("content_type", ["0.0", "1.3.6.1.4.1.311.99.1", "2.5.4.3"])
def test_a_type_that_is_not_known_says_no_more_than_data(content_type: str) -> None:
    assert judge(CERTAIN["text"], content_type) is Verdict.PLAINTEXT
    assert judge(ODD["B72 no header"], content_type) is Verdict.ODD
    assert judge(CONTENT_INFO, content_type) is Verdict.PLAINTEXT
    for content, is_mime in ((CERTAIN["text"], True), (b"X-Mine: 1\r\n\r\nhello", False)):
        witness = PlaintextWitness(content_type)
        witness.write(content)
        assert witness.has_header_block() is is_mime


@pytest.mark.parametrize("name", STRUCTURES)
def test_content_that_is_not_data_must_be_cms(name: str) -> None:
    content, verdict = STRUCTURES[name]
    assert judge(content, cms.SIGNED_DATA) is verdict


def test_a_structure_without_content_info_is_no_mail() -> None:
    assert judge(SIGNED_DATA_ALONE) is not Verdict.PLAINTEXT


def test_of_20000_random_contents_none_is_taken_and_few_are_odd() -> None:
    source = random.Random(20260101)
    verdicts = [judge(source.randbytes(16 * source.randint(1, 40))) for _ in range(20_000)]
    assert Verdict.PLAINTEXT not in verdicts
    assert verdicts.count(Verdict.ODD) < 20


def test_random_content_after_a_lucky_line_is_not_taken() -> None:
    source = random.Random(20260102)
    heads = (b"x:", b"To:", b"\r\n\r\n", b"\n", b"0\x80", b"From", b"30:")
    contents = (source.choice(heads) + source.randbytes(200) for _ in range(20_000))
    assert Verdict.PLAINTEXT not in {judge(content) for content in contents}


@given(st.binary(max_size=300), st.sampled_from([cms.ID_DATA, cms.SIGNED_DATA]))
def test_no_bytes_whatever_make_the_witness_raise(content: bytes, content_type: str) -> None:
    judge(content, content_type)
    judge(b"Content-Type: " + content, content_type)
    judge(b"\x30" + content, content_type)


HEADERS = {
    b"Content-Type: text/plain\r\n\r\nhello": True,
    b"X-Mine: 1\r\n\r\nhello": True,
    b"hello\r\n": False,
    b"\r\nhello\r\n": False,
    b"https://example.org\r\nis the place\r\n": False,
    b"Subject: nothing else\r\n": True,
    b"": False,
}


@pytest.mark.parametrize("content", HEADERS)
def test_a_body_encrypted_without_header_is_told_apart(content: bytes) -> None:
    witness = PlaintextWitness(cms.ID_DATA)
    witness.write(content)
    assert witness.has_header_block() is HEADERS[content]


def test_a_large_content_is_judged_in_bounded_memory() -> None:
    witness = PlaintextWitness(cms.ID_DATA)
    witness.write(b"Content-Type: multipart/mixed; boundary=late\r\n\r\n")
    for _ in range(200):
        witness.write(b"x" * 100_000)
    assert witness.judge()[0] is Verdict.ODD
    witness.write(b"\r\n--late\r\n\r\n")
    assert witness.judge()[0] is Verdict.PLAINTEXT
    assert len(witness._head) < 2_000_000


def _constructs_an_inner_entity(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "InnerEntity"


def test_only_accept_makes_an_inner_entity() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sectool").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _constructs_an_inner_entity(node)
    }
    assert makers == {"sectool/smime/opening/acceptance.py"}
