"""Names that RFC 5280 section 7.1 calls equal find the same key; hostile ones do no harm."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, strategies as st

from sectool.asn1.der import element, sequence
from sectool.keys.names import normalised_name

_COMMON_NAME = bytes.fromhex("0603550403")
_COUNTRY = bytes.fromhex("0603550406")
_DOMAIN_COMPONENT = bytes.fromhex("060a0992268993f22c640119")


def attribute(kind: bytes, tag: int, value: bytes) -> bytes:
    return sequence(kind, element(tag, value))


def name(*relative_names: bytes) -> bytes:
    return sequence(*(element(0x31, each) for each in relative_names))


def common_name(tag: int, value: bytes) -> bytes:
    return name(attribute(_COMMON_NAME, tag, value))


REFERENCE = common_name(0x0C, "Müller & Söhne CA".encode())

EQUAL = {
    "same": REFERENCE,
    "T61String": common_name(0x14, "Müller & Söhne CA".encode("latin-1")),
    "BMPString": common_name(0x1E, "Müller & Söhne CA".encode("utf-16-be")),
    "UniversalString": common_name(0x1C, "Müller & Söhne CA".encode("utf-32-be")),
    "case": common_name(0x0C, "MÜLLER & söhne ca".encode()),
    "spaces": common_name(0x0C, "  Müller  &\tSöhne   CA ".encode()),
    "decomposed letters": common_name(0x0C, "Mu\u0308ller & So\u0308hne CA".encode()),
    "long form of a length": b"\x30\x81" + REFERENCE[1:],
}

DIFFERENT = {
    "another word": common_name(0x0C, "Müller & Söhne CB".encode()),
    "without spaces": common_name(0x0C, "Müller&SöhneCA".encode()),
    "another attribute": name(attribute(_COUNTRY, 0x0C, "Müller & Söhne CA".encode())),
    "twice": name(*[attribute(_COMMON_NAME, 0x0C, "Müller & Söhne CA".encode())] * 2),
    "empty": sequence(),
    "an octet string": common_name(0x04, "Müller & Söhne CA".encode()),
}


@pytest.mark.parametrize("other", EQUAL.values(), ids=EQUAL)
def test_names_that_mean_the_same_are_equal(other: bytes) -> None:
    assert normalised_name(other) == normalised_name(REFERENCE)


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT)
def test_names_that_mean_something_else_differ(other: bytes) -> None:
    assert normalised_name(other) != normalised_name(REFERENCE)


def test_printable_string_equals_utf8_string() -> None:
    assert normalised_name(common_name(0x13, b"Test CA")) == normalised_name(
        common_name(0x0C, b"test ca")
    )


def test_domain_components_ignore_case() -> None:
    upper = name(attribute(_DOMAIN_COMPONENT, 0x16, b"EXAMPLE"))
    lower = name(attribute(_DOMAIN_COMPONENT, 0x16, b"example"))
    assert normalised_name(upper) == normalised_name(lower)


def test_relative_names_of_several_values_are_sets() -> None:
    parts = [attribute(_COMMON_NAME, 0x13, b"A"), attribute(_COUNTRY, 0x13, b"DE")]
    assert normalised_name(name(b"".join(parts))) == normalised_name(name(b"".join(parts[::-1])))


def test_the_order_of_relative_names_counts() -> None:
    parts = [attribute(_COMMON_NAME, 0x13, b"A"), attribute(_COUNTRY, 0x13, b"DE")]
    assert normalised_name(name(*parts)) != normalised_name(name(*parts[::-1]))


def test_a_name_of_the_library_is_understood() -> None:
    made = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A  b")]).public_bytes()
    assert normalised_name(made) == normalised_name(common_name(0x13, b"a B"))


@given(st.binary(max_size=200))
def test_any_bytes_equal_themselves_and_raise_nothing(raw: bytes) -> None:
    assert hash(normalised_name(raw)) == hash(normalised_name(raw))


@pytest.mark.parametrize("position", range(24))
@pytest.mark.parametrize("octet", [0x00, 0x80, 0xFF, 0x1F])
def test_a_damaged_name_raises_nothing(position: int, octet: int) -> None:
    raw = bytearray(REFERENCE)
    raw[position] = octet
    hash(normalised_name(bytes(raw)))


def test_a_deep_or_endless_name_equals_only_its_bytes() -> None:
    for raw in (b"\x30\x80" * 5000, b"\x30" * 1_000_000):
        assert normalised_name(raw) == raw
