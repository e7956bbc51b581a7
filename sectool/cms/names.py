"""Distinguished names for a person to read (RFC 4514); never for comparing."""

from __future__ import annotations

from functools import lru_cache

from sectool.asn1 import tags
from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage

_ATTRIBUTE_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_STRING_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, as nearly every authority means it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_SPECIAL = frozenset('",+;<>\\')


_REMEMBERED = 1024
"""Bytes of a name, and names."""


def display_name(name: bytes) -> str:
    """An encoded ``Name`` as RFC 4514 writes it, most specific attribute first.

    Never fails: what does not parse is shown as ``#`` and hexadecimal.
    """
    return _remembered(name) if len(name) <= _REMEMBERED else _display(name)


@lru_cache(maxsize=_REMEMBERED)
def _remembered(name: bytes) -> str:
    return _display(name)


def _display(name: bytes) -> str:
    try:
        relative_names = _relative_names(CMSReader.over(name))
    except MalformedMessage:
        return "#" + name.hex()
    return ",".join(reversed(relative_names))


def _relative_names(reader: CMSReader) -> list[str]:
    names: list[str] = []
    reader.enter(tags.SEQUENCE, "a name")
    while reader.peek() is not None:
        reader.enter(tags.SET, "a relative name")
        attributes: list[str] = []
        while reader.peek() is not None:
            attributes.append(_attribute(reader))
        reader.leave("a relative name")
        names.append("+".join(attributes))
    reader.leave("a name")
    return names


def _attribute(reader: CMSReader) -> str:
    reader.enter(tags.SEQUENCE, "an attribute")
    oid = reader.read_oid("an attribute type")
    header = reader.peek()
    raw = reader.read_raw("an attribute value", reader.limits.name_size)
    reader.leave("an attribute")
    text = None
    if header is not None and header.length is not None and not header.constructed:
        text = _text(header.tag, raw[len(header.encoded) :])
    return f"{_ATTRIBUTE_NAMES.get(oid, oid)}={'#' + raw.hex() if text is None else text}"


def _text(tag: int, content: bytes) -> str | None:
    encoding = _STRING_ENCODINGS.get(tag)
    if encoding is None:
        return None
    try:
        return _escape(content.decode(encoding))
    except UnicodeDecodeError:
        return None


def _escape(value: str) -> str:
    escaped = "".join(map(_escape_character, value))
    if value[:1] in {" ", "#"}:
        escaped = "\\" + escaped
    if len(value) > 1 and value.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape_character(character: str) -> str:
    if character in _SPECIAL:
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02x}" for octet in character.encode("utf-8", "surrogatepass"))
