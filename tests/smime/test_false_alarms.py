"""Mail that talks of S/MIME, or carries what is made of the same structures, is clear or signed."""

from __future__ import annotations

import base64
import importlib
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import smime
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support import odd_mail
from tests.support.mailboxes import make_key, openssl

PLAIN = (State.CLEAR, State.SIGNED)
RANDOM_MESSAGES = 1500


def assert_no_alarm(raw: bytes) -> None:
    for one in (raw, raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        found = smime.take_inventory(BytesContent(one))
        assert found.state in PLAIN, found.reason
        assert (found.parts, found.covered, found.unreached, found.hidden) == ((), (), (), "")


def text_message(text: bytes, subtype: bytes = b"plain") -> bytes:
    return b"\n".join(
        [*odd_mail.AUTHOR, odd_mail.MIME, b"Content-Type: text/" + subtype, b"", text]
    )


def file_message(name: str, raw: bytes, label: str = "application/octet-stream") -> bytes:
    return odd_mail.attached(
        f'{label}; name="{name}"'.encode(), odd_mail.wrapped(raw, 76), b"base64"
    )


class Desk:
    """What people attach and paste, made by the programs that make it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = make_key(directory, "a")
        self.pem = self.key.certificate.read_bytes() + self.key.private_key.read_bytes()
        (directory / "both.pem").write_bytes(self.pem)
        (directory / "text").write_bytes(b"Content-Type: text/plain\r\n\r\nhello\r\n")
        self.encrypted = self.run("cms", "-encrypt", "-in", "text", "-outform", "DER", "a.crt")
        (directory / "cms").write_bytes(self.encrypted)

    def run(self, *arguments: str) -> bytes:
        return subprocess.run(
            ["openssl", *arguments], cwd=self.directory, check=True, capture_output=True
        ).stdout

    def pkcs12(self, *options: str) -> bytes:
        return self.run(*("pkcs12", "-export", "-in", "both.pem", "-passout", "pass:x", *options))

    def signed(self, *options: str) -> bytes:
        return self.run(
            *("cms", "-sign", "-in", "text", "-signer", "both.pem", "-outform", "DER", *options)
        )

    def clear_signed(self) -> bytes:
        return self.run("cms", "-sign", "-in", "text", "-signer", "both.pem")

    def certificates(self, form: str = "DER") -> bytes:
        return self.run("crl2pkcs7", "-nocrl", "-certfile", "a.crt", "-outform", form)

    def request(self, form: str = "PEM") -> bytes:
        return self.run(
            *("req", "-new", "-key", "a.key", "-subj", "/CN=a/emailAddress=a@b", "-outform", form)
        )

    def der(self) -> bytes:
        return self.run("x509", "-in", "a.crt", "-outform", "DER")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def quoted_head(desk: Desk, count: int, prefix: bytes = b"> ") -> bytes:
    """A thread that quotes the header of an encrypted mail and its first lines."""
    lines = odd_mail.mail(desk.encrypted, b"\n").split(b"\n")
    start = next(at for at, line in enumerate(lines) if line.startswith(b"MII"))
    quoted = b"\n".join(prefix + line for line in lines[: start + count])
    return b"I cannot open this:\n\n" + quoted + b"\n" + prefix + b"[...]\n\nRegards\nBob\n"


TALK = b"""How do I get smime.p7m out of application/pkcs7-mime; smime-type=enveloped-data ?
It begins with MIIC and has 1.2.840.113549.1.7.3 (06092A864886F70D010703) in it. I tried

    openssl cms -decrypt -in smime.p7m -inform DER -inkey key.pem
    -----BEGIN PKCS7-----
    ...
    -----END PKCS7-----

Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m
Content-Transfer-Encoding: base64

and the first bytes are MIAGCSqGSIb3DQEHA6CAMIACAQAx, it says.
"""

DIGEST = b"""CMS digest, Tue 4 Mar

----------------------------------------------------------------------

Date: Tue, 4 Mar 2014 10:00:00 +0100
From: a@example.org
Subject: EnvelopedData and AuthEnvelopedData
Message-ID: <5@example.org>

id-envelopedData OBJECT IDENTIFIER ::= { iso(1) member-body(2)
   us(840) rsadsi(113549) pkcs(1) pkcs7(7) 3 }

------------------------------

Content-Type: application/pkcs7-mime; smime-type=enveloped-data
From: b@example.org
Subject: Re: EnvelopedData

MIICBgYJKoZIhvcNAQcDoIIB9zCCAfM is what ours begins with.

------------------------------
"""


def elf() -> bytes:
    """This Python's own library of OpenSSL, or itself: they hold tables of identifiers."""
    module = Path(importlib.import_module("_ssl").__file__ or sys.executable)
    linked = subprocess.run(["ldd", module], capture_output=True, text=True, check=False).stdout
    match = re.search(r"libcrypto\S* => (\S+)", linked)
    return Path(match[1] if match else sys.executable).read_bytes()


def sources() -> bytes:
    """A zip of this program's sources."""
    root = Path(smime.__file__).parent
    return odd_mail.zipped(
        {f"src/{path.name}": path.read_bytes() for path in sorted(root.glob("*.py"))}
    )


def jar() -> bytes:
    identifiers = bytes.fromhex("06092a864886f70d010703060b2a864886f70d0109100117") * 20
    return odd_mail.zipped(
        {
            "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n",
            "a/B.class": identifiers,
            "a.dat": identifiers,
        },
        zipfile.ZIP_STORED,
    )


def document() -> bytes:
    return odd_mail.zipped(
        {"[Content_Types].xml": b"<Types/>", "word/document.xml": TALK * 30, "a/b.bin": bytes(900)}
    )


SAMPLES: dict[str, Callable[[Desk], bytes]] = {
    "talk": lambda _: text_message(TALK),
    "talk in HTML": lambda _: text_message(b"<html><pre>" + TALK + b"</pre>", b"html"),
    "list digest": lambda _: text_message(DIGEST),
    "asn1parse": lambda desk: text_message(desk.run("asn1parse", "-inform", "DER", "-in", "cms")),
    "cmsout": lambda desk: text_message(
        desk.run("cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", "cms")
    ),
    "quoted header and 1 line": lambda desk: text_message(quoted_head(desk, 1)),
    "quoted header and 2 lines": lambda desk: text_message(quoted_head(desk, 2)),
    "quoted header and 5 lines": lambda desk: text_message(quoted_head(desk, 5)),
    "pasted header and 3 lines": lambda desk: text_message(quoted_head(desk, 3, b"")),
    "quoted at the very top": lambda desk: text_message(
        b"\n".join(odd_mail.body(desk.encrypted).split(b"\n")[:6]) + b"\n\nwhat is it?\n"
    ),
    "armour cut off": lambda desk: text_message(
        b"\n".join(odd_mail.armour(desk.encrypted).split(b"\n")[:4]) + b"\n-----END PKCS7-----\n"
    ),
    "p12": lambda desk: file_message("a.p12", desk.pkcs12()),
    "pfx of old algorithms": lambda desk: file_message(
        "a.pfx", desk.pkcs12("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES")
    ),
    "p12 pasted": lambda desk: text_message(b"My key:\n\n" + odd_mail.wrapped(desk.pkcs12())),
    "p12 as text": lambda desk: file_message("a.txt", odd_mail.wrapped(desk.pkcs12())),
    "p12 in a zip": lambda desk: file_message("a.zip", odd_mail.zipped({"a.p12": desk.pkcs12()})),
    "p12 in a data file": lambda desk: file_message("a", b"head of it" + desk.pkcs12() + b"tail"),
    "jks": lambda _: file_message("a.jks", b"\xfe\xed\xfe\xed\0\0\0\2" + bytes(400)),
    "p7b": lambda desk: file_message("a.p7b", desk.certificates()),
    "p7b as PEM": lambda desk: file_message("a.p7b", desk.certificates("PEM")),
    "p7b pasted": lambda desk: text_message(b"Chain:\n" + desk.certificates("PEM")),
    "p7s": lambda desk: file_message("smime.p7s", desk.signed(), "application/pkcs7-signature"),
    "signed, as a file": lambda desk: file_message("a.txt.p7m", desk.signed("-nodetach")),
    "signed, pasted": lambda desk: text_message(b"> " + odd_mail.armour(desk.signed(), b"CMS")),
    "signed only, bare base64": lambda desk: text_message(odd_mail.wrapped(desk.signed())),
    "certificate": lambda desk: file_message("a.cer", desk.der()),
    "certificate pasted": lambda desk: text_message(desk.key.certificate.read_bytes()),
    "key pasted": lambda desk: text_message(desk.pem),
    "request": lambda desk: file_message("a.csr", desk.request("DER")),
    "request pasted": lambda desk: text_message(desk.request()),
    "PDF": lambda _: file_message("a.pdf", b"%PDF-1.5\n" + TALK + b"trailer<</Root 1 0 R>>\n%%EOF"),
    "PDF with a password": lambda _: file_message(
        "a.pdf",
        b"%PDF-1.5\n1 0 obj<</Filter/Standard/V 4/R 4/O(" + bytes(32) + b")>>endobj\n"
        b"trailer<</Root 1 0 R/Encrypt 1 0 R>>\n%%EOF",
    ),
    "signed PDF": lambda desk: file_message(
        "a.pdf",
        b"%PDF-1.5\n<</Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached/Contents<"
        + desk.signed().hex().encode()
        + b">>>\ntrailer<</Root 1 0 R>>\n%%EOF",
    ),
    "office file": lambda _: file_message("a.docx", document()),
    "old office file": lambda _: file_message(
        "a.doc", odd_mail.outlook_message(("WordDocument", TALK * 20))
    ),
    "clear msg": lambda _: file_message(
        "a.msg",
        odd_mail.outlook_message(
            ("__properties_version1.0", bytes(40)),
            ("__substg1.0_001A001F", "IPM.Note".encode("utf-16-le")),
            ("__substg1.0_1000001F", TALK.decode().encode("utf-16-le")),
        ),
    ),
    "signed msg": lambda desk: file_message(
        "a.msg",
        odd_mail.outlook_message(
            ("__properties_version1.0", bytes(40)),
            ("__substg1.0_001A001F", "IPM.Note.SMIME.MultipartSigned".encode("utf-16-le")),
            ("__substg1.0_37010102", desk.signed()),
        ),
    ),
    "jar": lambda _: file_message("a.jar", jar()),
    "ELF": lambda _: file_message("libcrypto.so", elf()),
    "zip of sources": lambda _: file_message("src.zip", sources()),
    "table of identifiers": lambda _: file_message(
        "oids.bin", bytes.fromhex("06092a864886f70d010703a0") * 500
    ),
    "forwarded talk": lambda _: text_message(TALK).replace(b"text/plain", b"message/rfc822", 1),
    "clear mail attached": lambda _: file_message("a.eml", text_message(TALK)),
    "clear mbox": lambda _: file_message("a.mbox", b"From a@b Tue Mar  4\n" + text_message(DIGEST)),
    "signed mail": lambda desk: b"".join(
        [*(line + b"\n" for line in odd_mail.AUTHOR), desk.clear_signed()]
    ),
    "encrypted 7z and zip": lambda _: file_message("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(90)),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_no_encrypted_mail_raises_no_alarm(name: str, desk: Desk) -> None:
    raw = SAMPLES[name](desk)
    assert_no_alarm(raw)
    assert_no_alarm(
        odd_mail.WRAPPINGS["forwarded"](raw.replace(b"--b1", b"--b0").replace(b"=b1", b"=b0"))
    )


def test_a_quoted_head_of_base64_is_noted(desk: Desk) -> None:
    found = smime.take_inventory(BytesContent(text_message(quoted_head(desk, 3))))
    assert "quoted" in " ".join(found.noticed)


def pieces_of(desk: Desk) -> tuple[list[bytes], list[bytes]]:
    """What random messages are made of, and what of it begins or goes on as an envelope does."""
    rests = [
        desk.encrypted[8:], odd_mail.wrapped(desk.encrypted)[24:],
        desk.signed(), odd_mail.wrapped(desk.signed()),
        # Cut before their recipient is named: with its name they would count.
        desk.encrypted[:80], odd_mail.wrapped(desk.encrypted)[:110],
    ]  # fmt: skip
    pieces = [
        TALK, DIGEST, desk.pem, desk.certificates("PEM"), desk.certificates(), desk.der(),
        desk.request(), desk.pkcs12(), odd_mail.wrapped(desk.pkcs12()),
        text_message(TALK), file_message("a", desk.der()),
    ]  # fmt: skip
    return pieces, rests


def random_message(source: random.Random, pieces: list[bytes], rests: list[bytes]) -> bytes:
    """Text, structures and base64 of the field, in any order and cut anywhere."""
    # An envelope that is cut off is malformed as a whole body, and no more than quoted in one.
    body = b"Hello,\n"
    for _ in range(source.randint(1, 5)):
        piece = source.choice(pieces + rests)
        start, end = sorted(source.randint(0, len(piece)) for _ in range(2))
        if piece in rests:
            # Head and rest would be an envelope with damage in it, as a whole file, too.
            body += b"\n[...]\n"
        body += piece[start:end] + source.choice((b"\n", b"\n\n", b" ", b"> ", b"\n> "))
        if source.random() < 0.2:
            body += base64.encodebytes(source.randbytes(source.randint(1, 300)))
    how = source.random()
    if how < 0.5:
        return text_message(body, source.choice((b"plain", b"html")))
    if how < 0.75:
        return file_message(source.choice(("a.bin", "a.eml", "a.txt")), body)
    return odd_mail.attached(source.choice(odd_mail.MAIL_LABELS), body)


def test_random_messages_raise_no_alarm(desk: Desk, whole: bool) -> None:
    """Of what surrounds envelopes everything but an envelope that is whole."""
    pieces, rests = pieces_of(desk)
    source = random.Random(20)
    for _ in range(RANDOM_MESSAGES if whole else RANDOM_MESSAGES // 3):
        raw = random_message(source, pieces, rests)
        found = smime.take_inventory(BytesContent(raw))
        assert not found.parts, raw
        assert not [one for one in found.unreached if one.sets_state], raw
        assert found.state in PLAIN, (found.reason, raw)


def test_openssl_is_at_hand() -> None:
    assert openssl("version")
