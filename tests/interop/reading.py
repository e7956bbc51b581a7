"""What sectool writes, and which program is known to refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sectool import cms
from tests.interop.table import Cell, PeerName, Section

_EVERYBODY = tuple(PeerName)
_KINDS = {
    cms.Profile.COMPATIBLE: ("rsa", "p-256", "p-384"),
    cms.Profile.MODERN: ("rsa", "p-256", "p-384", "p-521", "x25519"),
    cms.Profile.POST_QUANTUM: ("ml-kem-768", "ml-kem-1024"),
}
_WITHOUT_PKCS12 = ("x25519", "ml-kem-768", "ml-kem-1024")
"""Kinds of keys that no PKCS#12 file brings to a program that reads no other."""
_BY_PKCS12 = (PeerName.THUNDERBIRD, PeerName.DEBIAN_NSS, PeerName.GPGSM)
_REFUSALS: dict[PeerName, dict[str, str]] = {
    PeerName.OPENSSL: {
        "modern, to x25519": "no matching recipient",
        "post-quantum, .*": "Could not read signing key",
    },
    PeerName.BOUNCY_CASTLE: {
        "modern, to x25519": "originator key invalid",
        "modern, .*with attributes rewrapped to p-256": "ClassCastException",
        "post-quantum, .*": "no such kind of private key",
    },
    PeerName.THUNDERBIRD: {"modern, .*": "SEC_ERROR_UNRECOGNIZED_OID"},
    PeerName.DEBIAN_NSS: {
        "modern, .*": "SEC_ERROR_UNRECOGNIZED_OID",
        "compatible, .*p-.*": "SEC_ERROR_BAD_DER",
    },
    PeerName.GPGSM: {
        "modern, .*to rsa.*": "Buffer too short",
        ".*to p-.*": "no import: gpgsm",
    },
}
"""By a pattern of rows: what a program says when it refuses."""


@dataclass(frozen=True)
class Original:
    """An envelope of another program, to an RSA key, whose content stays as it is encrypted."""

    name: str
    peer: PeerName
    words: tuple[str, ...]


_ORIGINALS = {
    cms.Profile.COMPATIBLE: Original(
        "aes-128-cbc in BER", PeerName.OPENSSL, ("-stream", "-indef", "-aes128")
    ),
    cms.Profile.MODERN: Original(
        "aes-128-gcm with attributes", PeerName.BOUNCY_CASTLE, ("rsa", "attributes", "AES128_GCM")
    ),
}


@dataclass(frozen=True)
class Reading:
    """An envelope of a profile that one program is given."""

    profile: cms.Profile
    kinds: tuple[str, ...]
    """Of the recipients' keys; the program has the first."""
    peer: PeerName
    original: Original | None = None
    """Whose recipients are exchanged; None: the envelope is new."""

    @property
    def row(self) -> str:
        first, *others = self.kinds
        besides = f", with {others[0]} beside it" if others else ""
        kept = f"{self.original.name} rewrapped " if self.original else ""
        return f"{self.profile.value}, {kept}to {first}{besides}"

    @property
    def cell(self) -> Cell:
        return Cell(Section.READ, self.row, self.peer)

    @property
    def name(self) -> str:
        return f"{self.peer} {self.row}"

    @property
    def cannot(self) -> str:
        """A pattern of what the program says when it refuses; empty: it opens."""
        refusals = _REFUSALS[self.peer].items()
        said = [words for pattern, words in refusals if re.fullmatch(pattern, self.row)]
        return said[0] if said else ""


def _readings() -> Iterator[Reading]:
    for profile, kinds in _KINDS.items():
        for kind in kinds:
            for peer in _EVERYBODY:
                if kind in _WITHOUT_PKCS12 and peer in _BY_PKCS12:
                    continue
                yield Reading(profile, (kind,), peer)
    for profile in (cms.Profile.COMPATIBLE, cms.Profile.MODERN):
        for kinds in (("rsa", "p-256"), ("p-256", "rsa")):
            for peer in _EVERYBODY:
                yield Reading(profile, kinds, peer)
    for profile, original in _ORIGINALS.items():
        for kind in ("rsa", "p-256"):
            for peer in _EVERYBODY:
                yield Reading(profile, (kind,), peer, original)


READINGS = tuple(_readings())
