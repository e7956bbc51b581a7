"""Signatures that others made verify, with every kind of key they used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from sectool import cms
from sectool.asn1 import der
from sectool.message import BytesContent, FileContent

if TYPE_CHECKING:
    from tests.cms.conftest import Person

SIGNED = {
    "rfc4134/4.1.bin": "AliceDSS@example.com",
    "rfc4134/4.2.bin": "AliceRSA@example.com",
    "rfc4134/4.4.bin": "AliceDSS@example.com",
    "rfc4134/4.5.bin": "AliceRSA@example.com",
    "rfc4134/4.6.bin": "AliceDSS@example.com",
    "rfc4134/4.7.bin": "AliceDSS@example.com",
    "rfc4134/4.10.bin": "AliceDSS@example.com",
    "rfc9216-cms/signedByAliceRSA.p7m": "alice@smime.example",
    "rfc9216-cms/signedByAliceRSAPSS.p7m": "alice@smime.example",
    "rfc9216-cms/signedByCarlosEd25519.p7m": "carlos@smime.example",
}
"""DSA, RSA PKCS#1 v1.5, RSA PSS and Ed25519; with and without signed attributes."""


@pytest.mark.parametrize(("name", "address"), SIGNED.items(), ids=SIGNED)
def test_the_published_examples_verify(corpus: Path, name: str, address: str) -> None:
    signer = cms.verify_signers(FileContent(corpus / name))[0]
    assert signer.failure == ""
    assert signer.certificate is not None
    assert cms.certificate_addresses(signer.certificate) == (address,)


def test_two_signers_without_certificates_are_both_told(corpus: Path) -> None:
    signers = cms.verify_signers(
        FileContent(corpus / "rfc9216-cms/signedByAliceAndCarlosNoCerts.p7m")
    )
    assert [signer.failure for signer in signers] == ["its certificate is not in the message"] * 2


def test_a_certificate_of_a_version_that_nobody_knows_is_passed_over(bob: Person) -> None:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"plans")
    signed = builder.add_signer(bob.certificate, bob.key, hashes.SHA256()).sign(Encoding.DER, [])
    version_3, version_10 = der.explicit(0, der.integer(2)), der.explicit(0, der.integer(9))
    assert cms.verify_signers(BytesContent(signed))[0].failure == ""
    (signer,) = cms.verify_signers(BytesContent(signed.replace(version_3, version_10)))
    assert (signer.certificate, bool(signer.failure)) == (None, True)
