"""Large content passes in bounded memory, and small messages in little time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.message import BytesContent
from tests.support.effort import effort
from tests.support.opening import open_envelope

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing, Person

Ring = Callable[..., "KeyRing"]
ROOT = Path(__file__).parents[2]

# The child maps its libraries before it bounds itself to so much more memory.
ROUND_TRIP = """
    import hashlib, io, resource, sys
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from pathlib import Path
    from sectool import cms
    from sectool.message import BytesContent, FileContent
    from tests.support.opening import open_envelope

    SIZE, ROOM = 64 << 20, 16 << 20
    pem = Path(sys.argv[1]).read_bytes()
    key = load_pem_private_key(pem, None)
    recipient = cms.Recipient(x509.load_pem_x509_certificate(pem))

    class Key:
        label = "key"

        def decrypt_rsa(self, encrypted_key, rsa_padding):
            return key.decrypt(encrypted_key, padding.PKCS1v15())

    class Keys:
        def find(self, identifier):
            return [Key()] if identifier == recipient.identifier else []

    class Zeros(io.RawIOBase):
        left = SIZE

        def read(self, size):
            block = bytes(min(size, self.left))
            self.left -= len(block)
            return block

    class Content:
        size = SIZE
        open = staticmethod(Zeros)

    def round_trip(content, path):
        with path.open("wb") as sink:
            sealed = cms.seal_envelope(content, sink, [recipient])
        source = FileContent(path)
        cms.check_sealed(source, sealed.content_encryption_key, [recipient])
        assert cms.describe_envelope(source).digest == sealed.digest
        opened = open_envelope(source, cms.DISCARD, Keys())
        assert (opened.sha256, opened.size) == (sealed.content_sha256, content.size)

    path = Path(sys.argv[2])
    round_trip(BytesContent(b"small"), path)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    round_trip(Content(), path)
    print("passed")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux")
def test_64_megabytes_pass_in_16_megabytes_of_memory(bob: Person, tmp_path: Path) -> None:
    pem = tmp_path / "bob.pem"
    pem.write_bytes(bob.pem())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ROUND_TRIP), str(pem), str(tmp_path / "cms")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("passed\n", "")


@pytest.mark.parametrize(
    "segment", [pytest.param(16, marks=pytest.mark.all_only), 76, 1000, 65_536]
)
def test_content_in_segments_is_read_in_time_that_grows_with_its_size(
    segment: int, forge: Forge
) -> None:
    def taken(size: int) -> float:
        content = der.octet_string(bytes(segment)) * (size // segment)
        raw = forge.cbc(field=b"\xa0\x80" + content + b"\0\0")
        assert (
            cms.describe_envelope(BytesContent(raw)).encrypted_content_size
            == size // segment * segment
        )
        return effort(lambda: cms.describe_envelope(BytesContent(raw)))

    half = statistics.median(taken(6_000_000) for _ in range(3))
    whole = statistics.median(taken(12_000_000) for _ in range(3))
    assert whole < 3 * half + 2


def test_small_messages_cost_little_beside_the_key_operation(forge: Forge, ring: Ring) -> None:
    class Known:
        label = "known"

        def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:
            return bytes(range(32))

        def agree(self, public_key: bytes) -> bytes:
            raise AssertionError

        def decapsulate(self, ciphertext: bytes) -> bytes:
            raise AssertionError

    keys = ring().add(forge.person.recipient.identifier, Known())
    source = BytesContent(forge.cbc(bytes(20_000)))
    # A hundred of them took 0.7 where it was measured.
    assert effort(lambda: [open_envelope(source, cms.DISCARD, keys) for _ in range(100)]) < 5


def test_a_description_holds_no_content(forge: Forge) -> None:
    description = cms.describe_envelope(BytesContent(forge.cbc(bytes(1_000_000))))
    assert len(repr(description)) < 2000
    assert description.encrypted_content_type == oids.ID_DATA
