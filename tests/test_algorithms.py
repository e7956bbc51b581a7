"""docs/algorithms.md says what the tables of algorithms say, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sectool.cms import oids
from sectool.cms.algorithms import CONTENT_ENCRYPTION, WEAK_CONTENT_ENCRYPTION
from sectool.cms.key_agreement import SCHEMES
from sectool.cms.key_encapsulation import KEMS
from sectool.cms.key_transport import KEY_TRANSPORT, rsa_padding_algorithm
from sectool.cms.key_wrap import AES_256_WRAP, KEY_WRAPS
from sectool.cms.profiles import (
    PROFILES,
    KeyAgreement,
    KeyEncapsulation,
    KeyEncryption,
    KeyTransport,
)

PAGE = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text(encoding="utf-8")
Row = tuple[str, ...]


def key_bits(sizes: Sequence[int]) -> str:
    bits = sorted(8 * size for size in sizes)
    if not bits:
        return "as its parameters say"
    if len(bits) > 2 and bits == list(range(bits[0], bits[-1] + 1, 8)):
        return f"{bits[0]} to {bits[-1]}"
    return ", ".join(map(str, bits))


def written_by(oid: str) -> str:
    """The profiles that write an algorithm; a dash: none does."""
    profiles = [
        profile.value
        for profile, row in PROFILES.items()
        if profile.is_of_one_kind
        and (
            oid == row.content_encryption
            or any(oid in written_oids(each) for each in row.key_encryption.values())
        )
    ]
    return ", ".join(profiles) or "-"


def written_oids(key_encryption: KeyEncryption) -> set[str]:
    if isinstance(key_encryption, KeyTransport):
        return {rsa_padding_algorithm(key_encryption.padding).oid}
    if isinstance(key_encryption, KeyAgreement):
        return {key_encryption.scheme_oid, AES_256_WRAP.oid}
    assert isinstance(key_encryption, KeyEncapsulation)
    return {*KEMS, AES_256_WRAP.oid}


def content_encryption() -> Iterator[Row]:
    weak = {row.oid for row in WEAK_CONTENT_ENCRYPTION}
    for oid, row in CONTENT_ENCRYPTION.items():
        name = oids.content_encryption_name(oid) + (" (weak)" if oid in weak else "")
        envelope = "auth-enveloped-data" if row.is_aead else "enveloped-data"
        bits = key_bits(row.key_sizes)
        yield name, oid, bits, envelope, row.parameters, row.specification, written_by(oid)


def key_transport() -> Iterator[Row]:
    for oid, row in KEY_TRANSPORT.items():
        name = oids.key_encryption_name(oid)
        yield name, oid, row.parameters, row.specification, written_by(oid)


def key_agreement() -> Iterator[Row]:
    for oid, row in SCHEMES.items():
        name = oids.key_encryption_name(oid)
        yield name, oid, row.hash_function().name, row.specification, written_by(oid)


def key_encapsulation() -> Iterator[Row]:
    for oid, specification in KEMS.items():
        yield oids.key_encryption_name(oid), oid, specification, written_by(oid)


def key_wrap() -> Iterator[Row]:
    for oid, row in KEY_WRAPS.items():
        name = oids.key_encryption_name(oid)
        yield name, oid, key_bits([row.key_size]), row.specification, written_by(oid)


def known_by_name_only() -> Iterator[Row]:
    content = {*CONTENT_ENCRYPTION, oids.CEK_HKDF_SHA256}
    keys = {*KEY_TRANSPORT, *SCHEMES, *KEMS, *KEY_WRAPS, oids.PWRI_KEK}
    for names, held in (
        (oids.CONTENT_ENCRYPTION_NAMES, content),
        (oids.KEY_ENCRYPTION_NAMES, keys),
    ):
        yield from ((name, oid) for oid, name in names.items() if oid not in held)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "Content encryption": content_encryption,
    "Key transport": key_transport,
    "Key agreement": key_agreement,
    "Key encapsulation": key_encapsulation,
    "Key wrap": key_wrap,
    "Known by name only": known_by_name_only,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_has_every_row_of_a_table(title: str) -> None:
    _, _, section = PAGE.partition(f"\n## {title}\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert lines[2:] == ["| " + " | ".join(row) + " |" for row in SECTIONS[title]()]
