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
_REFUSALS: dict[tuple[PeerName, cms.Profile, str], str] = {
    (PeerName.OPENSSL, cms.Profile.MODERN, "x25519"): "no matching recipient",
    (PeerName.OPENSSL, cms.Profile.POST_QUANTUM, "ml-kem-.*"): "Could not read signing key",
    (PeerName.BOUNCY_CASTLE, cms.Profile.MODERN, "x25519"): "originator key invalid",
    (PeerName.BOUNCY_CASTLE, cms.Profile.POST_QUANTUM, ".*"): "no such kind of private key",
    (PeerName.THUNDERBIRD, cms.Profile.MODERN, ".*"): "SEC_ERROR_UNRECOGNIZED_OID",
    (PeerName.DEBIAN_NSS, cms.Profile.MODERN, ".*"): "SEC_ERROR_UNRECOGNIZED_OID",
    (PeerName.DEBIAN_NSS, cms.Profile.COMPATIBLE, ".*p-.*"): "SEC_ERROR_BAD_DER",
    (PeerName.GPGSM, cms.Profile.MODERN, "rsa.*"): "Buffer too short",
    (PeerName.GPGSM, cms.Profile.MODERN, "p-.*"): "no import: .*Segmentation fault",
    (PeerName.GPGSM, cms.Profile.COMPATIBLE, "p-.*"): "no import: .*Segmentation fault",
}
"""By a pattern of the kinds of the recipients' keys: what a program says when it refuses."""


@dataclass(frozen=True)
class Reading:
    """An envelope of a profile that one program is given."""

    profile: cms.Profile
    kinds: tuple[str, ...]
    """Of the recipients' keys; the program has the first."""
    peer: PeerName

    @property
    def row(self) -> str:
        first, *others = self.kinds
        besides = f", with {others[0]} beside it" if others else ""
        return f"{self.profile.value}, to {first}{besides}"

    @property
    def cell(self) -> Cell:
        return Cell(Section.READ, self.row, self.peer)

    @property
    def name(self) -> str:
        return f"{self.peer} {self.row}"

    @property
    def cannot(self) -> str:
        """A pattern of what the program says when it refuses; empty: it opens."""
        kinds = " ".join(self.kinds)
        said = [
            words
            for (peer, profile, pattern), words in _REFUSALS.items()
            if (peer, profile) == (self.peer, self.profile) and re.fullmatch(pattern, kinds)
        ]
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


READINGS = tuple(_readings())
