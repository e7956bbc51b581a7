"""Measures how the time of hostile mail and key files grows with their size.

Each case is made four times, 1, 2, 4 and 8 times as large. What is printed is the
processor time of each and the exponent of the growth: 1 is linear.
"""

from __future__ import annotations

import argparse
import base64
import gc
import itertools
import math
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sectool import budget, cms, smime
from sectool.asn1 import der
from sectool.cli.words.layout import fact, table
from sectool.cms import oids
from sectool.errors import MessageError, SectoolError
from sectool.jobs.work.open_with import find_opening
from sectool.keys import KeyHistory, KeySpecification, load_key_history
from sectool.message import BytesContent
from sectool.outcome import RecipientKey, blotted
from tests.support.forge import Forge, make_person

Work = Callable[[], object]
CASES: dict[str, tuple[Callable[[int], tuple[int, Work]], int]] = {}
"""By name: makes bytes and the work on them for a scale, and the first scale."""


def case(scale: int) -> Callable[[Callable[[int], tuple[int, Work]]], None]:
    """Registers a case with its smallest scale."""

    def register(make: Callable[[int], tuple[int, Work]]) -> None:
        CASES[make.__name__.replace("_", "-")] = (make, scale)

    return register


# --- what the cases are made of ------------------------------------------------------


@cache
def forge() -> Forge:
    return Forge(make_person("bob"))


@cache
def history() -> KeyHistory:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "bob.pem")
        person = forge().person
        path.write_bytes(
            person.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + person.certificate.public_bytes(Encoding.PEM)
        )
        return load_key_history(KeySpecification((path,)))


def mail(body: bytes, fields: bytes = b"") -> bytes:
    return b"From: a@example.org\r\nSubject: x\r\n" + fields + b"\r\n" + body


def smime_mail(encoded: bytes) -> bytes:
    fields = (
        b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
    )
    return mail(base64.encodebytes(encoded).replace(b"\n", b"\r\n"), fields)


def attachment(raw: bytes, name: bytes = b"x.bin") -> bytes:
    return mail(
        b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\n"
        b"Content-Type: application/octet-stream; name=" + name + b"\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(raw) + b"\r\n--b--\r\n",
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
    )


def looked_at(raw: bytes) -> tuple[int, Work]:
    """Inventory, then every part opened and its signature checked."""

    def work() -> None:
        content = BytesContent(raw)
        inventory = smime.take_inventory(content)
        for part in inventory.parts:
            with suppress(MessageError):
                found = find_opening(part, history())
                inside = smime.content_of(found.inner)
                smime.integrity_of(content, part, found.inner, inside)
                smime.look_inside(inside, found.inner.content_type)

    return len(raw), work


def multipart(parts: list[bytes], fields: bytes = b"") -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return mail(
        body, b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n" + fields
    )


def name_of(count: int, size: int = 8) -> bytes:
    attributes = [
        der.element(0x31, der.sequence(der.oid("2.5.4.11"), der.element(0x0C, b"u" * size)))
        for _ in range(count)
    ]
    return der.sequence(*attributes)


def stranger(number: int, issuer: bytes | None = None, size: int = 256) -> bytes:
    identifier = cms.IssuerAndSerialNumber(issuer or name_of(3), 10**9 + number)
    return forge().recipient(identifier=identifier, encrypted_key=os.urandom(size))


# --- MIME ----------------------------------------------------------------------------


@case(250)
def parts_that_look_like_fields(scale: int) -> tuple[int, Work]:
    """Delimiter lines that are fields as well, so that each part looks at all that follow."""
    return looked_at(mail(b"--x:y\n" * scale, b'Content-Type: multipart/mixed; boundary="x:y"\n'))


@case(250)
def lines_that_are_no_field(scale: int) -> tuple[int, Work]:
    """Each is of the header only because a field follows them all."""
    return looked_at(b"From: a@b\n" + b"(\n" * scale + b"X: y\n\nx")


@case(100)
def multiparts_without_an_end(scale: int) -> tuple[int, Work]:
    """Each looks for its boundary in what follows, where lines only begin with it."""
    part = b"--B\nContent-Type: multipart/x; boundary=a\n\n" + b"--ax\n" * 10
    return looked_at(mail(part * scale, b"Content-Type: multipart/mixed; boundary=B\n"))


@case(500)
def parts(scale: int) -> tuple[int, Work]:
    return looked_at(multipart([b"Content-Type: text/plain\r\n\r\nx"] * scale))


@case(50)
def encrypted_parts(scale: int) -> tuple[int, Work]:
    entity = (
        b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(forge().cbc())
    )
    return looked_at(multipart([entity] * scale))


@case(50)
def forwarded_parts(scale: int) -> tuple[int, Work]:
    entity = b"Content-Type: message/rfc822\r\n\r\n" + smime_mail(forge().cbc())
    return looked_at(multipart([entity] * scale))


@case(2000)
def header_fields(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"X-A: b\r\n" * scale))


@case(5000)
def folded_lines(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"To: a\r\n" + b" b@example.org,\r\n" * scale))


@case(100_000)
def one_long_field(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"Subject: " + b"=?utf-8?q?a?= " * (scale // 14) + b"\r\n"))


@case(20_000)
def comments(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"Content-Type: " + b"(" * scale + b"text/plain\r\n"))


@case(20_000)
def comments_closed(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"Content-Type: " + b"()" * scale + b"text/plain\r\n"))


@case(20_000)
def quoted_backslashes(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b'Content-Type: text/plain; name="' + b"\\" * scale + b"\r\n"))


@case(20_000)
def parameter_spaces(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"Content-Type: text/plain; a" + b" " * scale + b"b\r\n"))


@case(20_000)
def media_type_spaces(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x", b"Content-Type: text" + b" " * scale + b"plain\r\n"))


@case(100)
def parameters(scale: int) -> tuple[int, Work]:
    sections = b"".join(b"; name*%d*=%s" % (n, b"%41" * 50) for n in range(scale))
    return looked_at(mail(b"x", b"Content-Type: text/plain" + sections + b"\r\n"))


@case(8)
def deep_multiparts(scale: int) -> tuple[int, Work]:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(scale)
    )
    return looked_at(b"From: a@b\r\n" + head + b"\r\nx\r\n" + b"line\r\n" * 2000 * scale)


@case(10_000)
def almost_boundaries(scale: int) -> tuple[int, Work]:
    boundary = b"b" * 70
    fields = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=" + boundary + b"\r\n"
    return looked_at(
        mail(b"--" + boundary + b"\r\n\r\n" + (b"--" + boundary + b"x\r\n") * scale, fields)
    )


@case(200_000)
def one_long_line(scale: int) -> tuple[int, Work]:
    return looked_at(multipart([b"\r\n" + b"x" * scale]))


@case(200_000)
def empty_lines(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"\r\n" * scale))


@case(200_000)
def bare_cr(scale: int) -> tuple[int, Work]:
    return looked_at(multipart([b"\r\n" + b"\r" * scale]))


@case(20_000)
def from_lines(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"From a\r\n" * scale))


# --- what is looked for in bodies ------------------------------------------------------

_HEAD = bytes.fromhex("308006092a864886f70d010703a0803080020100 3180")


@case(500)
def hints_in_text(scale: int) -> tuple[int, Work]:
    return looked_at(mail((_HEAD + b"\0" * 60) * scale))


@case(500)
def hints_in_attachment(scale: int) -> tuple[int, Work]:
    return looked_at(attachment((_HEAD + b"\0" * 60) * scale))


@case(500)
def hints_in_base64_text(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"x" + base64.encodebytes((_HEAD + b"\0" * 60) * scale), b""))


@case(500)
def other_identifiers(scale: int) -> tuple[int, Work]:
    return looked_at(mail((bytes.fromhex("06092a864886f70d010701") + b"abcd") * scale * 10))


@case(500)
def heads_in_lines(scale: int) -> tuple[int, Work]:
    line = base64.b64encode(_HEAD + b"\0" * 23) + b"\n"
    return looked_at(mail(b"text\n\n" + line * scale))


@case(5_000)
def html_tags(scale: int) -> tuple[int, Work]:
    form = base64.b64encode(_HEAD)
    return looked_at(mail(form + b"<" * 30 * scale + b"&" * 30 * scale))


@case(5_000)
def html_tags_in_lines(scale: int) -> tuple[int, Work]:
    form = base64.b64encode(_HEAD) + b"\n"
    return looked_at(mail(form + (b"<" * 70 + b"\n" + b"> " * 35 + b"\n") * scale))


@case(5_000)
def blank_runs(scale: int) -> tuple[int, Work]:
    form = base64.b64encode(_HEAD) + b"\n"
    return looked_at(mail(form + b"A" * 60 + b" " * 40 * scale + b"x\n"))


@case(5_000)
def alternating_blanks(scale: int) -> tuple[int, Work]:
    form = base64.b64encode(_HEAD)
    return looked_at(mail((form + b" " + b"A" * 16) * scale))


@case(2_000)
def begin_lines(scale: int) -> tuple[int, Work]:
    return looked_at(mail(b"begin 644 smime.p7m\r\n" * scale))


@case(2_000)
def tnef(scale: int) -> tuple[int, Work]:
    attribute = b"\1" + struct.pack("<II", 0x00069003, 4 + 8 * 50)
    properties = struct.pack("<I", 50) + struct.pack("<HHI", 3, 0x1234, 7) * 50
    raw = b"\x78\x9f\x3e\x22\0\0" + (attribute + properties + b"\0\0") * (scale // 50)
    return looked_at(attachment(raw, b"winmail.dat"))


@case(500)
def zip_entries(scale: int) -> tuple[int, Work]:
    local = b"PK\x03\x04" + bytes(26)
    packed = zlib.compress(b"A" * 20_000)[2:-4]
    data = local + packed
    entry = bytearray(b"PK\x01\x02" + bytes(42) + b"a.p7m")
    struct.pack_into("<HH", entry, 8, 0, 8)
    struct.pack_into("<II", entry, 20, len(packed), 20_000)
    struct.pack_into("<HHH", entry, 28, 5, 0, 0)
    directory = bytes(entry) * scale
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, scale, scale, len(directory), len(data), 0)
    return looked_at(attachment(data + directory + end, b"x.zip"))


@case(500)
def stored_zip_entries(scale: int) -> tuple[int, Work]:
    packed = b"0" * 100_000
    data = b"PK\x03\x04" + bytes(26) + packed
    entry = bytearray(b"PK\x01\x02" + bytes(42) + b"a.p7m")
    struct.pack_into("<II", entry, 20, len(packed), len(packed))
    struct.pack_into("<HHH", entry, 28, 5, 0, 0)
    directory = bytes(entry) * scale
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, scale, scale, len(directory), len(data), 0)
    return looked_at(attachment(data + directory + end, b"x.zip"))


@case(500)
def gzip_members(scale: int) -> tuple[int, Work]:
    packer = zlib.compressobj(wbits=31)
    member = packer.compress(b"x") + packer.flush()
    return looked_at(attachment(member * scale * 10, b"x.gz"))


@case(500)
def pdf_recipients(scale: int) -> tuple[int, Work]:
    raw = b"%PDF-1.7\n/Encrypt /Adobe.PubSec\n" + b"/Recipients [" + b"(" * scale * 20
    return looked_at(attachment(raw, b"x.pdf"))


@case(500)
def pdf_many_recipients(scale: int) -> tuple[int, Work]:
    raw = b"%PDF-1.7\n/Encrypt /Adobe.PubSec\n" + b"/Recipients [(((((((((((" * scale * 5
    return looked_at(attachment(raw, b"x.pdf"))


@case(500)
def pdf_spaces(scale: int) -> tuple[int, Work]:
    raw = b"%PDF-1.7\n/Encrypt /Adobe.PubSec\n" + (b"/Recipients" + b" " * scale * 20) * 3
    return looked_at(attachment(raw, b"x.pdf"))


@case(20_000)
def blanks_in_lines(scale: int) -> tuple[int, Work]:
    form = base64.b64encode(_HEAD) + b"\n"
    return looked_at(mail(b"text\n\n" + form + b"x" + b" " * scale + b"x\n"))


@case(500)
def false_heads_far_behind(scale: int) -> tuple[int, Work]:
    """Beginnings that fail when they are followed, behind much else."""
    false = bytes.fromhex("300506092a864886f70d010703a0803080020100 3180")
    text = b"A" * 200 * scale + b"\n\n" + (base64.b64encode(false + bytes(20)) + b"\n\n") * scale
    return looked_at(mail(b"text\n\n" + text))


@case(500)
def overlapping_zip_entries(scale: int) -> tuple[int, Work]:
    """Files that are all said to be the same two megabytes."""
    data = b"PK\x03\x04" + bytes(26) + os.urandom(2_000_000)
    entry = bytearray(b"PK\x01\x02" + bytes(42) + b"a.xyz")
    struct.pack_into("<HH", entry, 8, 0, 8)
    struct.pack_into("<II", entry, 20, 2_000_000, 2_000_000)
    struct.pack_into("<HHH", entry, 28, 5, 0, 0)
    directory = bytes(entry) * scale
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, scale, scale, len(directory), len(data), 0)
    return looked_at(attachment(data + directory + end, b"x.zip"))


@case(50)
def layers_inside(scale: int) -> tuple[int, Work]:
    """Forwarded envelopes in one, which together are too large to be held in memory."""
    inner = b"Content-Type: message/rfc822\r\n\r\n" + smime_mail(forge().cbc(b"x" * 12_000))
    return looked_at(smime_mail(forge().cbc(multipart([inner] * scale))))


@case(20)
def bodies_in_a_signed_content(scale: int) -> tuple[int, Work]:
    inner = b"Content-Type: message/rfc822\r\n\r\n" + smime_mail(forge().cbc(b"x" * 120_000))
    return looked_at(smime_mail(signed([], [], multipart([inner] * scale))))


# --- CMS ------------------------------------------------------------------------------


@case(1_000)
def recipients(scale: int) -> tuple[int, Work]:
    infos = [stranger(number, size=128) for number in range(scale)]
    return looked_at(smime_mail(forge().cbc(recipients=[*infos, forge().recipient()])))


@case(50)
def named_again(scale: int) -> tuple[int, Work]:
    wrong = [forge().recipient(encrypted_key=bytes(256)) for _ in range(scale)]
    return looked_at(smime_mail(forge().cbc(recipients=wrong)))


@case(100)
def distinct_issuers(scale: int) -> tuple[int, Work]:
    infos = [stranger(number, name_of(40, 50 + number % 50)) for number in range(scale)]
    return looked_at(smime_mail(forge().cbc(recipients=[*infos, forge().recipient()])))


@case(1_000)
def relative_names(scale: int) -> tuple[int, Work]:
    infos = [stranger(0, name_of(scale))]
    return looked_at(smime_mail(forge().cbc(recipients=[*infos, forge().recipient()])))


@case(20_000)
def long_name(scale: int) -> tuple[int, Work]:
    infos = [stranger(0, name_of(1, scale))]
    return looked_at(smime_mail(forge().cbc(recipients=[*infos, forge().recipient()])))


def held_name(issuer: bytes) -> tuple[int, Work]:
    """An issuer with the serial number of a key that is held."""
    serial = forge().person.recipient.identifier.serial_number
    identifier = cms.IssuerAndSerialNumber(issuer, serial)
    raw = forge().recipient(identifier=identifier, encrypted_key=bytes(256))
    return looked_at(smime_mail(forge().cbc(recipients=[raw] * 3)))


@case(20_000)
def long_name_compared(scale: int) -> tuple[int, Work]:
    return held_name(name_of(1, scale))


@case(1_000)
def relative_names_compared(scale: int) -> tuple[int, Work]:
    return held_name(name_of(scale))


@case(1_000)
def one_relative_name_compared(scale: int) -> tuple[int, Work]:
    attribute = der.sequence(der.oid("2.5.4.11"), der.element(0x0C, b"u"))
    return held_name(der.sequence(der.element(0x31, attribute * scale)))


@case(5_000)
def combining_name_compared(scale: int) -> tuple[int, Work]:
    text = ("a" + "\u0301\u0323" * scale).encode()
    attribute = der.sequence(der.oid("2.5.4.11"), der.element(0x0C, text))
    return held_name(der.sequence(der.element(0x31, attribute)))


def in_segments(segments: bytes) -> tuple[int, Work]:
    field = b"\xa0\x80" + segments + b"\0\0"
    return looked_at(smime_mail(forge().cbc(field=field)))


@case(100_000)
def segments_of_one(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x04\x01a" * scale)


@case(100_000)
def empty_segments(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x04\x00" * scale)


@case(50_000)
def segments_of_many_sizes(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x04\x01a\x04\x02bb\x04\x00" * scale)


@case(50_000)
def constructed_segments(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x24\x80\x04\x01a\0\0" * scale)


@case(50_000)
def empty_constructed_segments(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x24\x00" * scale)


@case(2_000)
def deep_segments(scale: int) -> tuple[int, Work]:
    return in_segments((b"\x24\x80" * 90 + b"\0\0" * 90) * scale)


@case(50_000)
def long_lengths(scale: int) -> tuple[int, Work]:
    return in_segments(b"\x04\x84\0\0\0\x01a" * scale)


@case(50_000)
def skipped_elements(scale: int) -> tuple[int, Work]:
    return looked_at(smime_mail(forge().cbc(after=b"\xa1\x80" + b"\x30\x00" * scale + b"\0\0")))


@case(50_000)
def skipped_depth(scale: int) -> tuple[int, Work]:
    after = b"\xa1\x80" + b"\x30\x80" * scale + b"\0\0" * scale + b"\0\0"
    return looked_at(smime_mail(forge().cbc(after=after)))


def attributes_of(set_of: bytes) -> tuple[int, Work]:
    return looked_at(smime_mail(forge().gcm(attributes=set_of)))


@case(2_000)
def authenticated_attributes(scale: int) -> tuple[int, Work]:
    one = [
        der.sequence(der.oid("1.2.3.4"), der.set_of([der.octet_string(b"%d" % number)]))
        for number in range(scale)
    ]
    return attributes_of(der.element(0xA1, b"".join(one)))


@case(10)
def deep_authenticated_attributes(scale: int) -> tuple[int, Work]:
    value = b"a" * 20_000
    for _ in range(scale):
        value = der.element(0x30, value)
    attribute = der.sequence(der.oid("1.2.3.4"), der.element(0x31, value))
    return attributes_of(der.element(0xA1, attribute))


def signed(certificates: list[bytes], signers: list[bytes], content: bytes = b"x") -> bytes:
    digest = der.sequence(der.oid(oids.SHA256))
    body = der.sequence(
        der.integer(1),
        der.set_of([digest]),
        der.sequence(der.oid(oids.ID_DATA), der.explicit(0, der.octet_string(content))),
        der.element(0xA0, b"".join(certificates)) if certificates else b"",
        der.element(0x31, b"".join(signers)),
    )
    return der.sequence(der.oid(oids.SIGNED_DATA), der.explicit(0, body))


def signer(identifier: bytes) -> bytes:
    sha256 = der.sequence(der.oid(oids.SHA256))
    rsa = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.NULL)
    return der.sequence(der.integer(1), identifier, sha256, rsa, der.octet_string(bytes(256)))


def checked(encoded: bytes) -> tuple[int, Work]:
    def work() -> None:
        with suppress(MessageError):
            cms.verify_signers(BytesContent(encoded))

    return len(encoded), work


def certificates_with_addresses(count: int) -> list[bytes]:
    """Certificates whose extensions take some time to read."""
    addresses = der.sequence(*[der.element(0x81, b"a@example.org")] * 200)
    extension = der.sequence(der.oid("2.5.29.17"), der.octet_string(addresses))
    extensions = der.explicit(3, der.sequence(extension))
    return [certificate(name_of(2), 1 + number % 7, extensions, number) for number in range(count)]


@case(4)
def signers_by_certificates(scale: int) -> tuple[int, Work]:
    identifier = der.sequence(name_of(2), der.integer(1))
    return checked(signed(certificates_with_addresses(12 * scale), [signer(identifier)] * scale))


@case(4)
def signers_by_key_identifier(scale: int) -> tuple[int, Work]:
    identifier = der.element(0x80, b"no such identifier")
    return checked(signed(certificates_with_addresses(12 * scale), [signer(identifier)] * scale))


@case(2)
def passwords(scale: int) -> tuple[int, Work]:
    cipher = der.sequence(
        der.oid(oids.PWRI_KEK),
        der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(16))),
    )
    derivation = der.element(
        0xA0,
        der.oid(oids.PBKDF2) + der.sequence(der.octet_string(b"salt"), der.integer(200_000)),
    )
    info = der.element(0xA3, der.integer(0) + derivation + cipher + der.octet_string(bytes(32)))
    raw = smime_mail(forge().cbc(recipients=[info]))
    entity = raw.partition(b"MIME-Version: 1.0\r\n")[2]
    whole = multipart([entity] * scale)
    keys = KeyHistory((), secrets=cms.SharedSecrets(passwords=(b"x",)))

    def work() -> None:
        content = BytesContent(whole)
        for part in smime.take_inventory(content).parts:
            with suppress(MessageError):
                find_opening(part, keys)

    return len(whole), work


# --- key files -------------------------------------------------------------------------


def loaded(raw: bytes, name: str = "keys.pem") -> tuple[int, Work]:
    directory = tempfile.mkdtemp()
    path = Path(directory, name)
    path.write_bytes(raw)

    def work() -> None:
        try:
            keys = load_key_history(KeySpecification((path,)))
            list(table(("key",), [(entry.subject,) for entry in keys.entries]))
            for entry in keys.entries:
                list(fact("subject", entry.subject))
        except SectoolError:
            pass

    return len(raw), work


def pem(label: bytes, raw: bytes) -> bytes:
    return (
        b"-----BEGIN "
        + label
        + b"-----\n"
        + base64.encodebytes(raw)
        + b"-----END "
        + label
        + b"-----\n"
    )


@cache
def private_key() -> bytes:
    return forge().person.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def certificate(
    subject: bytes, serial: int = 1, extensions: bytes = b"", signature: int = 0
) -> bytes:
    info = (
        forge()
        .person.key.public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    algorithm = der.sequence(der.oid(oids.SHA256_WITH_RSA), der.NULL)
    dates = der.sequence(der.element(0x17, b"200101000000Z"), der.element(0x17, b"300101000000Z"))
    parts = [der.explicit(0, der.integer(2)), der.integer(serial), algorithm, subject, dates]
    parts += [subject, info, extensions]
    return der.sequence(
        der.sequence(*parts), algorithm, der.element(0x03, b"\0" + signature.to_bytes(256))
    )


@case(20)
def one_key_again_and_again(scale: int) -> tuple[int, Work]:
    return loaded(pem(b"PRIVATE KEY", private_key()) * scale)


@case(200)
def certificates_of_one_key(scale: int) -> tuple[int, Work]:
    raw = b"".join(
        pem(b"CERTIFICATE", certificate(name_of(2), serial)) for serial in range(1, scale + 1)
    )
    return loaded(pem(b"PRIVATE KEY", private_key()) + raw)


@case(5_000)
def certificate_with_long_name(scale: int) -> tuple[int, Work]:
    raw = pem(b"CERTIFICATE", certificate(name_of(1, scale)))
    return loaded(pem(b"PRIVATE KEY", private_key()) + raw)


@case(5_000)
def certificate_with_wide_name(scale: int) -> tuple[int, Work]:
    name = der.sequence(
        der.element(
            0x31, der.sequence(der.oid("2.5.4.11"), der.element(0x0C, ("あ" * scale).encode()))
        )
    )
    raw = pem(b"CERTIFICATE", certificate(name))
    return loaded(pem(b"PRIVATE KEY", private_key()) + raw)


@case(1_000)
def certificate_with_many_names(scale: int) -> tuple[int, Work]:
    raw = pem(b"CERTIFICATE", certificate(name_of(scale)))
    return loaded(pem(b"PRIVATE KEY", private_key()) + raw)


@case(500)
def certificate_with_many_extensions(scale: int) -> tuple[int, Work]:
    one = [
        der.sequence(der.oid(f"1.2.3.{number}"), der.octet_string(b"x")) for number in range(scale)
    ]
    raw = certificate(name_of(2), extensions=der.explicit(3, der.sequence(*one)))
    return loaded(pem(b"PRIVATE KEY", private_key()) + pem(b"CERTIFICATE", raw))


@case(10_000)
def huge_serial_number(scale: int) -> tuple[int, Work]:
    raw = certificate(name_of(2), serial=1 << 8 * scale)
    return loaded(pem(b"PRIVATE KEY", private_key()) + pem(b"CERTIFICATE", raw))


@case(1_000)
def junk_blocks(scale: int) -> tuple[int, Work]:
    return loaded(b"-----BEGIN X-----\n" * scale * 10)


@case(1_000)
def begin_blocks(scale: int) -> tuple[int, Work]:
    return loaded(b"-----BEGIN CERTIFICATE-----\n" * scale * 10)


@case(20_000)
def base64_blanks(scale: int) -> tuple[int, Work]:
    return loaded(b"MI" + b" \n" * scale + b"=!")


@case(500)
def indefinite_depth(scale: int) -> tuple[int, Work]:
    return loaded((b"\x30\x80" * 20 + b"\x04\x01a" * scale + b"\0\0" * 20), "x.p12")


@case(2_000)
def nested_octets(scale: int) -> tuple[int, Work]:
    node = b"\x24\x80" * 18 + b"\x04\x01a" * scale + b"\0\0" * 18
    return loaded(
        b"\x30\x80\x02\x01\x03\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x80"
        + node
        + b"\0\0" * 3,
        "x.p12",
    )


@case(1_000)
def huge_exponent(scale: int) -> tuple[int, Work]:
    numbers = forge().person.key.private_numbers()
    order = math.lcm(numbers.p - 1, numbers.q - 1)
    exponent = 65537 + order * (1 << (scale % 3))
    public = numbers.public_numbers
    raw = der.sequence(
        *map(der.integer, (0, public.n, exponent, numbers.d, numbers.p, numbers.q, 0, 0, 0))
    )
    return loaded(pem(b"RSA PRIVATE KEY", raw) * (scale // 1000))


# --- words ------------------------------------------------------------------------------


@case(5_000)
def table_of_long_names(scale: int) -> tuple[int, Work]:
    key = RecipientKey("CN=" + "x" * scale, "01", "")
    rows = [(f"{key.issuer} serial 1", "1", "-")] * 3
    return scale * 3, lambda: list(table(("encrypted to", "messages", "key"), rows))


@case(5_000)
def table_of_wide_names(scale: int) -> tuple[int, Work]:
    rows = [("あ" * scale, "1", "-")] * 3
    return scale * 3, lambda: list(table(("encrypted to", "messages", "key"), rows))


@case(20_000)
def fact_of_a_long_name(scale: int) -> tuple[int, Work]:
    return scale, lambda: list(fact("subject", "CN=" + "x" * scale))


@case(20_000)
def address_in_a_long_name(scale: int) -> tuple[int, Work]:
    return scale, lambda: blotted("x" * scale)


# --- measuring -----------------------------------------------------------------------------


def growth(name: str, *, times: int = 4) -> float:
    """How many times as long a case takes that is so many times as large."""
    make, first = CASES[name]
    seconds = []
    for scale in (first, times * first):
        size, work = make(scale)
        seconds.append(min(measured(size, work) for _ in range(2)))
    return seconds[1] / max(seconds[0], 1e-4)


def measured(size: int, work: Work) -> float:
    """Seconds of processor time, within what one message may cost."""
    gc.collect()
    start = time.process_time()
    with suppress(MessageError), budget.of_message(size):
        work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="cases; all where none is named")
    parser.add_argument("--most", type=float, default=8, help="seconds after which a case ends")
    arguments = parser.parse_args()
    history()
    print(f"{'case':36} {'bytes':>10}   {'seconds at 1, 2, 4, 8':38} growth")
    for name, (make, first) in CASES.items():
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        times: list[float] = []
        size = 0
        for factor in (1, 2, 4, 8):
            size, work = make(first * factor)
            if not times:
                measured(size, work)
            times.append(measured(size, work))
            if times[-1] > arguments.most:
                break
        pairs = [(a, b) for a, b in itertools.pairwise(times) if a > 0.002]
        growth = math.log2(pairs[-1][1] / pairs[-1][0]) if pairs else 0.0
        print(
            f"{name:36} {size:10,}   {'  '.join(f'{one:8.3f}' for one in times):38} {growth:6.2f}"
            + ("  <==" if growth > 1.35 else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
