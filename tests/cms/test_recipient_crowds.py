"""Messages to crowds: all recipients are read, few are kept, and a held key is found anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.errors import BudgetExceeded, MissingKey
from sectool.message import BytesContent
from tests.cms.conftest import CONTENT, Forge, Holder, KeyRing, OpenSSL, Person
from tests.support.agreements import Agreement

OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
OpenAsBob = Callable[[bytes], tuple[cms.Authenticated | cms.Unproven, bytes]]
CROWD = 4_000
"""More than are kept."""
MEGABYTES = 120
"""That opening any of these may take, the interpreter and its libraries included."""


def crowd(forge: Forge, count: int = CROWD, issuer: bytes = b"") -> list[bytes]:
    """RecipientInfos of people whom nobody knows."""
    identifier = forge.person.recipient.identifier
    assert isinstance(identifier, cms.IssuerAndSerialNumber)
    other = replace(identifier, issuer=issuer or identifier.issuer)
    encrypted_key = os.urandom(256)
    return [
        forge.recipient(
            identifier=replace(other, serial_number=10**9 + number), encrypted_key=encrypted_key
        )
        for number in range(count)
    ]


def name_of(size: int) -> bytes:
    """An issuer's name of about so many bytes."""
    attribute = der.sequence(der.oid("2.5.4.11"), der.element(0x0C, b"u" * 100))
    relative_name = der.element(0x31, attribute)
    return der.sequence(*[relative_name] * (size // len(relative_name)))


@pytest.mark.parametrize("place", [0, 1_999, 2_000, CROWD])
def test_a_held_key_is_found_wherever_it_stands(
    place: int, forge: Forge, open_as_bob: OpenAsBob
) -> None:
    infos = crowd(forge)
    infos.insert(place, forge.recipient())
    assert open_as_bob(forge.cbc(recipients=infos))[1] == CONTENT


def test_a_held_key_on_a_curve_is_found_behind_a_crowd(
    forge: Forge, holder: Callable[..., Holder], ring: Callable[..., KeyRing], open_bytes: OpenBytes
) -> None:
    someone = holder("p-256")
    raw = forge.cbc(recipients=[*crowd(forge), Agreement().make(someone), *crowd(forge, 3)])
    assert open_bytes(raw, ring(someone))[1] == CONTENT


def test_a_crowd_without_a_held_key_is_counted(
    forge: Forge, ring: Callable[..., KeyRing], open_bytes: OpenBytes
) -> None:
    with pytest.raises(MissingKey, match=f"; {CROWD - 3} more$"):
        open_bytes(forge.cbc(recipients=crowd(forge)), ring())


def test_a_held_key_that_is_named_again_and_again_buys_no_endless_work(
    forge: Forge, open_as_bob: OpenAsBob
) -> None:
    wrong = [forge.recipient(encrypted_key=bytes(255) + bytes((n,))) for n in range(200)]
    raw = forge.cbc(recipients=[*crowd(forge), *wrong])
    budget = Budget({**MESSAGE, Work.PRIVATE_KEY: 100})
    reason = "limit of 100 private-key operations"
    with spending(budget), pytest.raises(BudgetExceeded, match=reason):
        open_as_bob(raw)


@pytest.mark.parametrize("size", [17_000, 65_536, 200_000])
def test_an_issuer_with_a_long_name_opens(
    size: int, bob: Person, forge: Forge, open_bytes: OpenBytes
) -> None:
    identifier = cms.IssuerAndSerialNumber(name_of(size), 7)
    raw = forge.cbc(recipients=[forge.recipient(identifier=identifier)])
    assert open_bytes(raw, KeyRing().add(identifier, bob))[1] == CONTENT


def test_a_name_that_is_too_long_to_keep_costs_the_others_nothing(
    forge: Forge, open_as_bob: OpenAsBob
) -> None:
    infos = [*crowd(forge, 2, name_of(300_000)), forge.recipient()]
    assert open_as_bob(forge.cbc(recipients=infos))[1] == CONTENT
    description = cms.describe_envelope(BytesContent(forge.cbc(recipients=infos)))
    assert len(description.recipients) == 1
    assert (description.recipients_total, description.recipients_complete) == (3, False)


def nested(depth: int, tag: int = 0x30) -> bytes:
    """Constructed elements of indefinite length inside each other."""
    return bytes((tag, 0x80)) * depth + der.NULL + b"\0\0" * depth


DEEP = {
    "unprotected attributes": lambda forge, nest: forge.cbc(
        after=b"\xa1\x80" + der.sequence(der.oid("1.2.3.4"), der.element(0x31, nest)) + b"\0\0",
        version=2,
    ),
    "another recipient": lambda forge, nest: forge.cbc(
        recipients=[b"\xa4\x80" + der.oid("1.2.3.4") + nest + b"\0\0", forge.recipient()]
    ),
    "originatorInfo": lambda forge, nest: forge.cbc(before=b"\xa0\x80" + nest + b"\0\0"),
}


@pytest.mark.parametrize("depth", [40, 1_000, 5_000])
@pytest.mark.parametrize("place", DEEP)
def test_deep_nesting_around_what_is_needed_opens(
    place: str, depth: int, forge: Forge, open_as_bob: OpenAsBob
) -> None:
    assert open_as_bob(DEEP[place](forge, nested(depth)))[1] == CONTENT


def test_openssl_opens_what_opens_here(
    forge: Forge, bob: Person, open_as_bob: OpenAsBob, openssl: OpenSSL
) -> None:
    """Deep nesting, and two thousand and more recipients before the one that is held."""
    deep = DEEP["unprotected attributes"](forge, nested(40))
    for raw in (deep, forge.cbc(recipients=[*crowd(forge, 2_500), forge.recipient()])):
        assert openssl.open(raw, Holder("bob", bob.key, bob.certificate)) == CONTENT
        assert open_as_bob(raw)[1] == CONTENT


_PROGRAM = """
import re, sys
from sectool import cms
from sectool.keys import KeySpecification, load_key_history
from tests.support.opening import open_envelope
from pathlib import Path

class Stored:
    def open(self):
        return open(sys.argv[1], "rb")

keys = load_key_history(KeySpecification((Path(sys.argv[2]),)), None)
sink = open(sys.argv[3], "wb")
cms.describe_envelope(Stored(), wanted=keys.holds)
open_envelope(Stored(), sink, keys)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize(("count", "issuer_size"), [(20_001, 0), (400, 65_536)])
def test_a_crowd_opens_within_the_bound_of_memory(
    count: int, issuer_size: int, forge: Forge, bob: Person, tmp_path: Path
) -> None:
    """Of a hundred thousand recipients the same is kept."""
    issuer = name_of(issuer_size) if issuer_size else b""
    infos = [*crowd(forge, count, issuer), forge.recipient()]
    (tmp_path / "message").write_bytes(forge.cbc(recipients=infos))
    (tmp_path / "bob.pem").write_bytes(bob.pem())
    command = [
        sys.executable,
        "-c",
        _PROGRAM,
        *map(str, (tmp_path / "message", tmp_path / "bob.pem")),
    ]
    peak = subprocess.run([*command, str(tmp_path / "content")], check=True, capture_output=True)
    assert (tmp_path / "content").read_bytes() == CONTENT
    assert int(peak.stdout) < MEGABYTES * 1024
