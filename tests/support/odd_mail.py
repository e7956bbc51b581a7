"""Encrypted mail as programs that deliver, filter, bounce and export it leave it, and mail like it.

Everything is built from one CMS and is bytes. Each kind has what may be said of it.
"""

from __future__ import annotations

import base64
import gzip
import io
import quopri
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

CRLF, LF = b"\r\n", b"\n"
LABEL = b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"
ENCODING = b"Content-Transfer-Encoding: base64"
AUTHOR = (
    b"From: Bob <bob@example.net>",
    b"To: Alice <alice@example.org>",
    b"Subject: plans",
    b"Date: Tue, 04 Mar 2014 10:00:00 +0100",
    b"Message-ID: <1@example.net>",
)
MIME = b"MIME-Version: 1.0"


def lines(*parts: bytes, end: bytes = CRLF) -> bytes:
    """Lines, of which each may hold others that end in LF."""
    return b"".join(part.replace(b"\r\n", b"\n").replace(b"\n", end) + end for part in parts)


def wrapped(raw: bytes, columns: int = 64) -> bytes:
    """Base64 in lines that end in LF, without the last line end."""
    text = base64.b64encode(raw)
    return b"\n".join(text[at : at + columns] for at in range(0, len(text), columns))


def armour(raw: bytes, label: bytes = b"PKCS7") -> bytes:
    return b"-----BEGIN %s-----\n%s\n-----END %s-----" % (label, wrapped(raw), label)


def body(raw: bytes) -> bytes:
    """An encrypted entity: its fields, a blank line and its base64."""
    return b"\n".join([LABEL, ENCODING, b"", wrapped(raw)])


def mail(raw: bytes, end: bytes = CRLF) -> bytes:
    """A whole encrypted message in sound form."""
    return lines(*AUTHOR, MIME, body(raw), end=end)


def multipart(*parts: bytes, boundary: bytes = b"b1", named: bytes | None = None) -> bytes:
    """A multipart with these entities, LF, whose header names a boundary, perhaps another one."""
    value = b"; boundary=" + (boundary if named is None else named)
    value = b"" if named == b"" else value
    inside = b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts)
    return b"Content-Type: multipart/mixed" + value + b"\n\n" + inside + b"--" + boundary + b"--"


TEXT = b"Content-Type: text/plain\n\nsee attached\n"


def attached(label: bytes, raw: bytes, encoding: bytes = b"") -> bytes:
    """A message with a text and a file, LF."""
    fields = b"Content-Type: " + label
    if encoding:
        fields += b"\nContent-Transfer-Encoding: " + encoding
    return b"\n".join([*AUTHOR, MIME, multipart(TEXT, fields + b"\n\n" + raw)])


MAIL_LABELS = (
    b'application/octet-stream; name="mail.eml"',
    b"application/octet-stream",
    b'text/plain; name="mail.eml"',
    b'application/x-eml; name="x.eml"',
    b'message/x-rfc822; name="x.eml"',
    b"application/rfc822",
    b"message/rfc822-headers",
    b"text/rfc822-headers",
    b"application/x-rfc822",
    b"application/eml",
)


def opening(cms: bytes) -> dict[str, bytes]:
    """What a walk that is patient takes in its place, LF."""
    whole = mail(cms, LF)
    header = b"\n".join((*AUTHOR, MIME))
    return {
        "blank line of a delivery program": b"\n" + whole,
        "three blank lines on top": b"\n\n\n" + whole,
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "mbox line": b"From bob@example.net Tue Mar  4 10:00:00 2014\n" + whole,
        "quoted mbox line": b">From bob@example.net Tue Mar  4 10:00:00 2014\n" + whole,
        "mbox line and a blank line": b"From bob@example.net Tue Mar  4 2014\n\n" + whole,
        "what a server said": b"+OK 1234 octets\n" + whole,
        "Received and a blank line": b"Received: from a by b;\n Tue, 4 Mar\n\n" + whole,
        "trace fields and a blank line": b"Return-Path: <b@c>\nX-Original-To: a@b\n\n" + whole,
        "text/plain first": lines(header, b"Content-Type: text/plain", body(cms), end=LF),
        "text/html first, 8bit": lines(
            header,
            b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit",
            body(cms),
            end=LF,
        ),
        "multipart first": lines(
            header, b"Content-Type: multipart/mixed; boundary=gone", body(cms), end=LF
        ),
        "blank line too early": lines(header, b"", body(cms), end=LF),
        "three blank lines too early": lines(header, b"", b"", b"", body(cms), end=LF),
        "header in the body of a text": lines(
            header, b"Content-Type: text/plain", b"", body(cms), end=LF
        ),
        "with MIME-Version": lines(
            header, b"Content-Type: text/plain", b"", MIME, body(cms), end=LF
        ),
        "without any blank line": lines(header, LABEL, ENCODING, end=LF) + wrapped(cms) + b"\n",
        "every line end doubled": whole.replace(b"\n", b"\n\n"),
        "CR CR LF": whole.replace(b"\n", b"\r\r\n"),
        "MIME-Version before the base64": lines(
            header, LABEL, ENCODING, b"", MIME, b"", wrapped(cms), end=LF
        ),
        "a warning before the base64": lines(
            header, LABEL, ENCODING, b"", b"CAUTION: external sender", b"", wrapped(cms), end=LF
        ),
        "a warning of several lines": lines(
            header, LABEL, ENCODING, b"", b"[EXTERNAL]\nMind: do not click\n", wrapped(cms), end=LF
        ),
        "base64 piece by piece": lines(
            header,
            LABEL,
            ENCODING,
            b"",
            *(base64.b64encode(cms[at : at + 55]) for at in range(0, len(cms), 55)),
            end=LF,
        ),
        "armour as the whole text": lines(
            header, b"Content-Type: text/plain", b"", armour(cms), end=LF
        ),
        "armour of CMS as the whole text": lines(header, b"", armour(cms, b"CMS"), end=LF),
        "base64 as the whole text": lines(
            header, b"Content-Type: text/plain; charset=us-ascii", b"", wrapped(cms), end=LF
        ),
        **{
            f"attached as {label.decode()}": lines(attached(label, whole), end=LF)
            for label in MAIL_LABELS
        },
    }


def among_others(cms: bytes) -> dict[str, bytes]:
    """Parts that are found where they are, in a multipart whose other parts are kept, LF."""
    header = b"\n".join((*AUTHOR, MIME))
    part = body(cms) + b"\n"
    sound = multipart(TEXT, part)
    return {
        "no boundary": lines(header, multipart(TEXT, part, named=b""), end=LF),
        "single quotes": lines(header, multipart(TEXT, part, named=b"'b1'"), end=LF),
        "escaped quotes": lines(header, multipart(TEXT, part, named=b'\\"b1\\"'), end=LF),
        "another boundary": lines(header, multipart(TEXT, part, named=b"other"), end=LF),
        "boundary cut off": lines(
            header, multipart(TEXT, part, boundary=b"----=_Part_1", named=b'"----=_Part"'), end=LF
        ),
        "behind the end, bare": lines(header, multipart(TEXT), part, end=LF),
        "behind the end, delimited": lines(
            header, multipart(TEXT), b"", b"--b1", part, b"--b1--", end=LF
        ),
        "closed after each part": lines(
            header, sound.replace(b"--b1\nContent-Type: app", b"--b1--\n--b1\nContent-Type: app")
        ),
        "text attachment that is base64 CMS": lines(
            attached(b"text/plain; name=ATT00001.txt", wrapped(cms, 76), b"base64"), end=LF
        ),
    }


def outlook_message(*streams: tuple[str, bytes]) -> bytes:
    """A compound file with these streams, each in pieces that do not follow each other."""
    size, free, end = 512, 0xFFFFFFFF, 0xFFFFFFFE
    sectors: list[bytes] = []
    table: dict[int, int] = {}
    short = b""
    short_table: list[int] = []

    def chain(raw: bytes) -> int:
        pieces = [raw[at : at + size].ljust(size, b"\0") for at in range(0, len(raw), size)]
        numbers: list[int] = []
        for piece in pieces:
            sectors.append(b"\xee" * size)  # of nobody, in between
            numbers.append(len(sectors))
            sectors.append(piece)
        for at, number in enumerate(numbers):
            table[number] = numbers[at + 1] if at + 1 < len(numbers) else end
        return numbers[0] if numbers else end

    entries: list[bytes] = []

    def entry(name: str, kind: int, start: int, length: int) -> bytes:
        text = name.encode("utf-16-le")
        head = text.ljust(64, b"\0") + struct.pack("<HBB", len(text) + 2, kind, 1)
        return head.ljust(116, b"\0") + struct.pack("<III", start, length, 0)

    for name, raw in streams:
        if len(raw) < 4096:
            pieces = [raw[at : at + 64].ljust(64, b"\0") for at in range(0, len(raw), 64)]
            first = len(short_table) + 1
            for at, piece in enumerate(pieces):
                short += b"\xee" * 64 + piece
                number = len(short_table) + 1
                short_table += [free, number + 2 if at + 1 < len(pieces) else end]
            entries.append(entry(name, 2, first, len(raw)))
        else:
            entries.append(entry(name, 2, chain(raw), len(raw)))
    short_start = chain(short)
    entries.insert(0, entry("Root Entry", 5, short_start, len(short)))
    directory = chain(b"".join(entries).ljust(-(-len(entries) // 4) * 512, b"\0"))
    short_table_start = chain(struct.pack(f"<{len(short_table)}I", *short_table))
    count = -(-(len(sectors) + 200) // 128)
    first_table = len(sectors)
    numbers = [table.get(one, free) for one in range((len(sectors) + count + 127) // 128 * 128)]
    packed = struct.pack(f"<{len(numbers)}I", *numbers)
    tables = [packed[at : at + size] for at in range(0, len(packed), size)]
    sectors += tables
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack(
        "<IIIIIIII", 0, len(tables), directory, 0, 4096, short_table_start, 1, end
    )
    header += struct.pack("<I", 0)
    listed = [first_table + at for at in range(len(tables))]
    header += struct.pack("<109I", *listed, *[free] * (109 - len(listed)))
    return header + b"".join(sectors)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def tarred(name: str, raw: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(raw)
        archive.addfile(info, io.BytesIO(raw))
    return buffer.getvalue()


def encrypted_pdf(cms: bytes, *, hexadecimal: bool = True) -> bytes:
    """A PDF whose key is in an envelope (ISO 32000-2 section 7.6.5)."""
    escaped = re.sub(rb"([()\\])", rb"\\\1", cms).replace(b"\r", b"\\r")
    recipients = b"<" + cms.hex().upper().encode() + b">" if hexadecimal else b"(" + escaped + b")"
    return (
        b"%PDF-1.6\n1 0 obj\n<</Type/Catalog>>\nendobj\n2 0 obj\n<</Filter/Adobe.PubSec/V 4"
        b"/SubFilter/adbe.pkcs7.s5/CF<</DefaultCryptFilter<</CFM/AESV2/Recipients["
        + recipients
        + b"]>>>>>>\nendobj\ntrailer\n<</Root 1 0 R/Encrypt 2 0 R>>\nstartxref\n9\n%%EOF\n"
    )


def _file(name: str, raw: bytes) -> bytes:
    label = f'application/octet-stream; name="{name}"'.encode()
    return attached(label, wrapped(raw, 76), b"base64")


def unreached(cms: bytes) -> dict[str, bytes]:
    """Envelopes that are found and stay, and make their message unsupported, LF."""
    whole = mail(cms, LF)
    mbox = b"From a@b Tue Mar  4 2014\n" + CLEAR_TEXT + b"\n\nFrom b@c Tue Mar  4 2014\n" + whole
    header = b"\n".join((*AUTHOR, MIME))
    text = header + b"\nContent-Type: text/plain; charset=utf-8"
    html = header + b"\nContent-Type: text/html"
    with_br, in_line = (wrapped(cms).replace(b"\n", tag) for tag in (b"<br>\n", b"<br/>"))
    quoted = b"".join(b"> " + line + b"\n" for line in armour(cms).split(b"\n"))
    twice = b"".join(b"> > " + line + b"\n" for line in wrapped(cms).split(b"\n"))
    msg = outlook_message(
        ("__properties_version1.0", bytes(40)),
        ("__substg1.0_001A001F", "IPM.Note.SMIME".encode("utf-16-le")),
        ("__substg1.0_37010102", cms),
    )
    large = cms + bytes(6000)
    kinds = {
        "armour in a text": text + b"\n\nHi, see below\n\n" + armour(cms) + b"\n\nbye\n",
        "armour of CMS in a text": text + b"\n\nHi\n\n" + armour(cms, b"CMS") + b"\n",
        "base64 in a text": text + b"\n\nHi, this came:\n\n" + wrapped(cms) + b"\n\nbye\n",
        "quoted armour": text + b"\n\nBob wrote:\n" + quoted + b"\nwhat is it?\n",
        "base64 quoted twice": text + b"\n\n> > Bob wrote:\n" + twice + b"\nwhat is it?\n",
        "HTML with br": html + b"\n\n<p>Hi<br>\n" + with_br + b"</p>\n",
        "HTML in one line": html + b"\n\n<p>Hi<br>" + in_line + b"</p>\n",
        "HTML with references": html
        + b"\n\n<pre>"
        + wrapped(cms).replace(b"\n", b"&#13;\n").replace(b"+", b"&#43;")
        + b"</pre>\n",
        "quoted-printable HTML": html
        + b"\nContent-Transfer-Encoding: quoted-printable\n\n"
        + quopri.encodestring(b"<p>Hi " + wrapped(cms).replace(b"\n", b"<br>") + b"</p>\n"),
        "base64 of a text with armour": text
        + b"\nContent-Transfer-Encoding: base64\n\n"
        + wrapped(b"Hi\n\n" + armour(cms) + b"\nbye\n", 76)
        + b"\n",
        "bounce in a text": text
        + b"\n\nThis is a copy of the message, including all the headers.\n\n"
        + whole,
        "mbox": _file("mail.mbox", mbox),
        "message in base64": _file("mail.eml", whole),
        "message in base64 without a name": _file("file", whole),
        "zip with a message": _file("mail.zip", zipped({"docs/mail.eml": whole})),
        "zip without names": _file("x.zip", zipped({"1": whole})),
        "zip, stored": _file("x.zip", zipped({"a/smime.p7m": cms}, zipfile.ZIP_STORED)),
        "zip in a zip": _file("x.zip", zipped({"in.zip": zipped({"a.eml": whole})})),
        "gzip": _file("mail.eml.gz", gzip.compress(whole)),
        "gzip of an mbox": _file("mbox.gz", gzip.compress(mbox)),
        "tar": _file("mail.tar", tarred("mail.eml", whole)),
        "tar.gz": _file("mail.tgz", gzip.compress(tarred("mail.eml", whole))),
        "msg": _file("mail.msg", msg),
        "large msg": _file(
            "mail.msg",
            outlook_message(("__properties_version1.0", b"x"), ("__substg1.0_37010102", large)),
        ),
        "bytes somewhere": _file("data.bin", b"some format" * 50 + cms + b"tail"),
        "preamble": header
        + b"\nContent-Type: multipart/mixed; boundary=b1\n\n"
        + armour(cms)
        + b"\n--b1\n"
        + TEXT
        + b"\n--b1--\n",
        "epilogue": header + b"\n" + multipart(TEXT) + b"\n\nfooter\n" + armour(cms) + b"\n",
        "the whole multipart in base64": header
        + b"\nContent-Type: multipart/mixed; boundary=b1\nContent-Transfer-Encoding: base64\n\n"
        + wrapped(multipart(TEXT, body(cms) + b"\n").partition(b"\n\n")[2], 76)
        + b"\n",
        **_in_texts(cms, text + b"\n\n", html + b"\n\n"),
        **_behind_other_cms(cms, header),
        "zip64": _file("x.zip", zip64("a.eml", whole)),
        "yEnc": text + b"\n\n=ybegin line=128 size=%d name=smime.p7m\n" % len(cms)
        + yencoded(cms) + b"\n=yend size=%d\n" % len(cms),
        "message/partial": header
        + b'\nContent-Type: message/partial; id="x@y"; number=1; total=3\n\n'
        + whole[:1200],
    }  # fmt: skip
    return {name: raw + b"" for name, raw in kinds.items()}


def _in_texts(cms: bytes, text: bytes, html: bytes) -> dict[str, bytes]:
    """Base64 and armour as texts of several kinds have them."""
    base64_lines, whole = wrapped(cms), b"Hello,\n\n" + armour(cms) + b"\n"
    json = base64_lines.replace(b"/", b"\\/").replace(b"\n", b"\\r\\n")
    beginnings = (b"RIFF", b"%PDF-1.4", b"BZh", b"the ftyp", b"ID3")
    return {
        **{
            f"a text that begins with {begin.decode()}": text + begin + b" and so on\n\n" + whole
            for begin in beginnings
        },
        "a file that begins with ID3": _file("a.txt", b"ID3 is a format\n\n" + whole),
        "UTF-16": _file("a.txt", b"\xff\xfe" + whole.decode().encode("utf-16-le")),
        "joined by blanks": text + b"see\n\n" + base64_lines.replace(b"\n", b" ") + b"\nbye\n",
        "quoted lines joined": text + b"see\n> " + base64_lines.replace(b"\n", b" > ") + b"\nbye\n",
        "JSON": text + b'{"body": "' + json + b'"}\n',
        "blanks of UTF-8": text + base64_lines.replace(b"\n", b"\xc2\xa0\n\xc2\xa0") + b"\nbye\n",
        "quoted by name": text + base64_lines.replace(b"\n", b"\nBob> ") + b"\nbye\n",
        "a tag a line": html + b"<i>" + base64_lines.replace(b"\n", b"</i>\n<i>") + b"</i>",
        "a tag in its beginning": html + base64_lines[:20] + b"<b>" + base64_lines[20:] + b"</b>\n",
        "behind the beginning of another": text + whole[:200] + b"\n[...]\n\n" + whole,
    }  # fmt: skip


def _behind_other_cms(cms: bytes, header: bytes) -> dict[str, bytes]:
    """CMS in or behind other CMS that holds nothing encrypted."""
    no_certificates = _content_info(2, b"\x02\x01\x01\x31\x00" + _element(0x30, _oid(1)))
    carried = _element(0x30, _oid(1) + _element(0xA0, _element(0x04, mail(cms))))
    label = LABEL.replace(b"; smime-type=enveloped-data", b"")
    kinds = {
        "id-data around it": carried,
        "DigestedData around it": _content_info(5, b"\x02\x01\x00" + carried),
        "behind certificates": no_certificates + cms,
    }
    return {
        **{
            name: b"\n".join((header, label, ENCODING, b"", wrapped(raw), b""))
            for name, raw in kinds.items()
        },
        "two armours": b"\n".join((header, LABEL, b"", armour(cms), armour(cms), b"")),
        "two in one base64": b"\n".join((header, LABEL, ENCODING, b"", wrapped(cms + cms), b"")),
    }


def _oid(number: int) -> bytes:
    return bytes.fromhex("06092a864886f70d0107") + bytes((number,))


def _element(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x84)) + len(content).to_bytes(4) + content


def _content_info(number: int, content: bytes) -> bytes:
    return _element(0x30, _oid(number) + _element(0xA0, _element(0x30, content)))


def yencoded(raw: bytes) -> bytes:
    """As http://www.yenc.org/yenc-draft.1.3.txt has it, in lines of 128 octets."""
    octets = [(octet + 42) & 0xFF for octet in raw]
    text = [b"=%c" % ((one + 64) & 0xFF) if one in b"\0\n\r=" else b"%c" % one for one in octets]
    return b"\n".join(b"".join(text[at : at + 128]) for at in range(0, len(text), 128))


def zip64(name: str, raw: bytes) -> bytes:
    """An archive that has every number in the fields of zip64, as some programs write it."""
    title, crc = name.encode(), zlib.crc32(raw)
    local = struct.pack(
        "<4sHHHIIIIHH", b"PK\3\4", 45, 0, 0, 0, crc, len(raw), len(raw), len(title), 0
    )
    extra = struct.pack("<HHQQQ", 1, 24, len(raw), len(raw), 0)
    entry = struct.pack(
        "<4sHHHHIIIIHHHHHII", b"PK\1\2", 45, 45, 0, 0, 0, crc, 0xFFFFFFFF, 0xFFFFFFFF,
        len(title), len(extra), 0, 0, 0, 0, 0xFFFFFFFF,
    ) + title + extra  # fmt: skip
    files = local + title + raw
    end = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), len(files)
    ) + struct.pack("<4sIQI", b"PK\6\7", 0, len(files) + len(entry), 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return files + entry + end + last


def beside_the_state(cms: bytes) -> dict[str, bytes]:
    """Envelopes inside other formats: they count, and the message is what it is, LF."""
    document = {"[Content_Types].xml": b"<x/>", "word/document.xml": b"<w/>" * 400}
    return {
        "encrypted PDF": _file("a.pdf", encrypted_pdf(cms)),
        "encrypted PDF, bytes": _file("a.pdf", encrypted_pdf(cms, hexadecimal=False)),
        "office file": _file("a.docx", zipped({**document, "word/embeddings/a.bin": b"x" + cms})),
        "office file with mail": _file("a.docx", zipped({**document, "a/mail.eml": mail(cms)})),
        "old office file": _file("a.doc", outlook_message(("WordDocument", b"x" * 200 + cms))),
        "forwarded PDF": lines(
            *AUTHOR,
            MIME,
            b"Content-Type: message/rfc822\n",
            _file("a.pdf", encrypted_pdf(cms)),
            end=LF,
        ),
    }


CLEAR_TEXT = b"\n".join((*AUTHOR, MIME, b"Content-Type: text/plain", b"", b"hello"))

Wrapping = Callable[[bytes], bytes]


def _forwarded(raw: bytes) -> bytes:
    return b"\n".join([*AUTHOR, MIME, multipart(TEXT, b"Content-Type: message/rfc822\n\n" + raw)])


WRAPPINGS: dict[str, Wrapping] = {
    "LF": lambda raw: raw,
    "CRLF": lambda raw: raw if b"\r" in raw else raw.replace(b"\n", b"\r\n"),
    "forwarded": _forwarded,
}


def variants(kinds: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each kind with either line end, and in a forward."""
    for name, raw in kinds.items():
        for how, wrap in WRAPPINGS.items():
            if "doubled" in name and how == "forwarded":
                continue  # a message whose line ends are doubled is so from its first byte
            yield f"{name}, {how}", wrap(raw)
