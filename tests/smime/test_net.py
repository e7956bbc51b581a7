"""What openssl opens is never clear, wherever it lies; and looking for it stays bounded."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest

from sectool import smime
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.errors import LimitExceeded
from sectool.message import BytesContent
from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.outcome import State
from sectool.smime.finding.archives import CompoundFile
from tests.support import odd_mail
from tests.support.checker import Key
from tests.support.mailboxes import make_key, openssl

SECRET = b"Content-Type: text/plain\r\n\r\nhello\r\n"
ENVELOPED = bytes.fromhex("2a864886f70d010703")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys"), "a")


def encrypted(key: Key, *options: str) -> bytes:
    directory = key.certificate.parent
    (directory / "text").write_bytes(SECRET)
    return openssl(
        *("cms", "-encrypt", "-binary", "-in", directory / "text", "-outform", "DER"),
        *(*options, key.certificate),
    )


def opens(cms: bytes, key: Key) -> bool:
    path = key.certificate.parent / "cms"
    path.write_bytes(cms)
    try:
        found = openssl(
            *("cms", "-decrypt", "-binary", "-inform", "DER", "-in", path),
            *("-inkey", key.private_key, "-recip", key.certificate),
        )
    except subprocess.CalledProcessError:
        return False
    return found == SECRET


def length(size: int, octets: int = 0) -> bytes:
    """Length octets, as few as there need be or so many."""
    if size < 0x80 and not octets:
        return bytes((size,))
    octets = octets or -(-size.bit_length() // 8)
    return bytes((0x80 + octets,)) + size.to_bytes(octets)


def element(tag: int, content: bytes, octets: int = 0) -> bytes:
    return bytes((tag,)) + length(len(content), octets) + content


def parsed(raw: bytes) -> list[Any]:
    """DER with short tags as a tree."""
    found: list[Any] = []
    while raw:
        tag, size, begin = raw[0], raw[1], 2
        if size > 0x80:
            begin += size - 0x80
            size = int.from_bytes(raw[2:begin], "big")
        content = raw[begin : begin + size]
        found.append((tag, parsed(content) if tag & 0x20 else content))
        raw = raw[begin + size :]
    return found


def written(tree: list[Any], octets: int = 0) -> bytes:
    return b"".join(
        element(tag, inner if isinstance(inner, bytes) else written(inner, octets), octets)
        for tag, inner in tree
    )


def with_first_recipient(cms: bytes, recipient: bytes) -> bytes:
    """An envelope with one more recipient before the others."""
    ((_, outer),) = parsed(cms)
    raw = written(outer[1:])
    ((_, content),) = parsed(raw)
    ((_, fields),) = content
    version, recipients, info = (written([one]) for one in fields)
    old = recipients[len(recipients) - len(written(parsed(recipients)[0][1])) :]
    envelope = element(0x30, version + element(0x31, recipient + old) + info)
    return element(0x30, written(outer[:1]) + element(0xA0, envelope))


def nested(depth: int) -> bytes:
    raw = b"\x30\x00"
    for _ in range(depth):
        raw = element(0x30, raw)
    return raw


def of_long_name(size: int) -> bytes:
    """A recipient whose issuer has a name of so many letters."""
    attribute = element(0x30, bytes.fromhex("0603550403") + element(0x13, b"A" * size))
    issuer = element(0x30, element(0x31, attribute))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    identifier = element(0x30, issuer + b"\x02\x01\x05")
    return element(0x30, b"\x02\x01\x00" + identifier + algorithm + element(4, bytes(256)))


def with_long_identifier(cms: bytes) -> bytes:
    ((_, outer),) = parsed(cms)
    return element(0x30, element(6, ENVELOPED, 1) + written(outer[1:]))


MAKES: dict[str, Callable[[Key], bytes]] = {
    "DER": encrypted,
    "indefinite lengths": lambda key: encrypted(key, "-stream"),
    "by key identifier": lambda key: encrypted(key, "-keyid"),
    "AuthEnvelopedData": lambda key: encrypted(key, "-aes-256-gcm"),
    "lengths of four octets": lambda key: written(parsed(encrypted(key)), 4),
    "identifier with a long length": lambda key: with_long_identifier(encrypted(key)),
    "first recipient of a long name": lambda key: with_first_recipient(
        encrypted(key), of_long_name(300_000)
    ),
    "first recipient nested deep": lambda key: with_first_recipient(
        encrypted(key), element(0xA4, b"\x06\x02\x2a\x03" + nested(150))
    ),
    "many others first": lambda key: with_first_recipient(encrypted(key), of_long_name(20) * 2500),
}
WITHOUT_OUTLOOK = ("msg", "large msg")
"""What builds those in the tests holds no message of a megabyte."""
HEAVY = ("many others first", "first recipient of a long name")
"""A hundred times as long as the others: of the places they lie in, the sample has every fourth."""


@pytest.mark.parametrize("make", MAKES)
def test_what_openssl_opens_is_clear_nowhere(make: str, key: Key, whole: bool) -> None:
    cms = MAKES[make](key)
    assert opens(cms, key)
    kinds = odd_mail.unreached(cms) | odd_mail.opening(cms) | odd_mail.among_others(cms)
    step = 4 if make in HEAVY and not whole else 1
    for name, raw in list(kinds.items())[::step]:
        found = smime.take_inventory(BytesContent(raw))
        assert found.state not in {State.CLEAR, State.SIGNED}, name
        assert found.parts or found.covered or found.unreached or found.hidden, name


@pytest.mark.parametrize("share", [0.6, 0.8, 0.99])
def test_an_envelope_whose_tail_is_cut_counts_with_its_recipients(share: float, key: Key) -> None:
    cms = encrypted(key, "-stream")
    assert not opens(cms[: int(len(cms) * share)], key)
    cut = cms[: max(int(len(cms) * share), len(cms) - 60)]
    text = b"\n".join((*odd_mail.AUTHOR, b"", b"I got this:", b"", odd_mail.wrapped(cut), b""))
    (one,) = smime.take_inventory(BytesContent(text)).unreached
    assert len(one.recipients) == 1


def test_one_envelope_behind_another_is_not_taken_with_it(key: Key) -> None:
    kinds = odd_mail.unreached(encrypted(key))
    for name in ("two armours", "two in one base64"):
        found = smime.take_inventory(BytesContent(kinds[name]))
        assert (found.parts, len(found.unreached)) == ((), 2)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b"AAAA" * 200, State.MALFORMED),
        (b"MIIC" + b"x9/+" * 100, State.MALFORMED),
        (b"", State.CLEAR),
        (b"It begins with MIIC, as they say in the manual.", State.CLEAR),
    ],
)
def test_damage_in_a_file_that_is_labelled_is_told_and_words_are_none(
    body: bytes, state: State
) -> None:
    inner = b"\n".join((*odd_mail.AUTHOR, odd_mail.MIME, odd_mail.LABEL, b"", body, b""))
    raw = odd_mail.attached(odd_mail.MAIL_LABELS[0], inner)
    assert smime.take_inventory(BytesContent(raw)).state is state


# --- compound files ---


@pytest.mark.parametrize("size", [1, 63, 64, 65, 511, 4095, 4096, 4097, 70_000])
def test_a_stream_is_read_whole_whatever_sectors_it_lies_in(size: int) -> None:
    raw = bytes(number * 7 % 251 for number in range(size))
    file = odd_mail.outlook_message(("other", b"y" * 100), ("it", raw), ("last", b"z" * 5000))
    assert dict(CompoundFile(file, DEFAULT_LIMITS).streams())["it"] == raw


def test_a_chain_of_sectors_that_never_ends_is_left() -> None:
    file = bytearray(odd_mail.outlook_message(("it", bytes(9000))))
    table = struct.unpack_from("<I", file, 76)[0] * 512 + 512
    for at in range(0, 512, 4):
        struct.pack_into("<I", file, table + at, at // 4)
    for _, raw in CompoundFile(bytes(file), DEFAULT_LIMITS).streams():
        assert len(raw) <= len(file)


def test_a_compound_file_with_too_many_streams_is_refused() -> None:
    file = odd_mail.outlook_message(*((f"s{number}", b"x") for number in range(60)))
    with pytest.raises(LimitExceeded):
        CompoundFile(file, Limits(archive_entries=10))


# --- archives ---

LETTER = odd_mail.CLEAR_TEXT
SEALED: dict[str, tuple[str, bytes, Limits]] = {
    "too many files": (
        "a.zip",
        odd_mail.zipped({f"{number}.eml": LETTER for number in range(30)}),
        Limits(archive_entries=20),
    ),
    "too large": ("a.zip", odd_mail.zipped({"a.eml": LETTER * 50}, 0), Limits(archive_size=2000)),
    "too deep": (
        "a.zip",
        odd_mail.zipped({"a.zip": odd_mail.zipped({"a.zip": odd_mail.zipped({"a": LETTER})})}),
        Limits(archive_depth=1),
    ),
    "unpacks to too much": ("a.gz", gzip.compress(bytes(100_000)), DEFAULT_LIMITS),
    "too many streams": (
        "a.msg",
        odd_mail.outlook_message(*((f"s{number}", b"x") for number in range(60))),
        Limits(archive_entries=10),
    ),
    "7z": ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(range(256)), DEFAULT_LIMITS),
}


@pytest.mark.parametrize("name", SEALED)
def test_an_archive_that_is_not_looked_into_is_counted_and_stands_against_nothing(
    name: str,
) -> None:
    title, raw, limits = SEALED[name]
    label = f'application/octet-stream; name="{title}"'.encode()
    mail = odd_mail.attached(label, odd_mail.wrapped(raw, 76), b"base64")
    with spending(Budget({**MESSAGE, Work.ARCHIVE: 50_000})) as budget:
        found = smime.take_inventory(BytesContent(mail), limits)
    assert (found.state, found.uninspected, found.hidden) == (State.CLEAR, 1, "")
    assert budget.reason == ""


def test_an_archive_that_is_not_looked_into_ends_no_search(key: Key) -> None:
    _, raw, limits = SEALED["too many files"]
    file = b"Content-Type: application/zip\nContent-Transfer-Encoding: base64\n\n"
    text = b"Content-Type: text/plain\n\nHi\n\n" + odd_mail.armour(encrypted(key)) + b"\n"
    parts = odd_mail.multipart(file + odd_mail.wrapped(raw, 76), text)
    mail = b"\n".join((*odd_mail.AUTHOR, odd_mail.MIME, parts))
    found = smime.take_inventory(BytesContent(mail), limits)
    assert (found.state, len(found.unreached), found.uninspected) == (State.UNSUPPORTED, 1, 1)


# --- how much is read ---


class CountedContent(BytesContent):
    """A content that counts what is read of it."""

    read = 0

    def open(self) -> BinaryIO:
        content = self

        class Counted(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                block = super().read(size)
                content.read += len(block)
                return block

        with super().open() as stream:
            return Counted(stream.read())


def read_of(text: bytes) -> int:
    content = CountedContent(b"\n".join((*odd_mail.AUTHOR, b"", text)))
    assert smime.take_inventory(content).state is State.CLEAR
    return content.read


@pytest.mark.parametrize(
    "line",
    [
        b"MIIB0gYJKoZIhvcNAQcD it begins\n",
        b"06092A864886F70D010703 is its name: KoZIhvcNAQcDoIIB\n",
        b"<b>KoZIhvcNAQcD</b>&gt;&lt;\n",
    ],
)
def test_twice_as_much_that_looks_like_an_envelope_is_read_as_often(line: bytes) -> None:
    once, twice = read_of(line * 4000), read_of(line * 8000)
    assert twice < 2.2 * once
