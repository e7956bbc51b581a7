"""Signatures are verified as openssl makes them, and nothing else passes for one."""

from __future__ import annotations

import io

import pytest

from sectool import cms, smime
from sectool.message import BytesContent
from tests.support.signing import KEYS, Signatory, make_signatory, openssl, sign

ENTITY = (
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b"Sehr geehrte Frau M\xc3\xbcller,\r\n-- \r\ndie Unterlagen liegen bei.   \r\n\r\n"
)

OPENPGP = (
    b"Content-Type: multipart/signed; boundary=b; protocol=application/pgp-signature\r\n\r\n"
    b"--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n"
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n--b--\r\n"
)


@pytest.fixture(scope="module")
def signatories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signatory]:
    directory = tmp_path_factory.mktemp("signatories")
    return {name: make_signatory(directory, name, key=name) for name in KEYS}


def _sign(signatory: Signatory, *options: str, entity: bytes = ENTITY) -> bytes:
    return sign(signatory, entity, *options)


def _check(message: bytes) -> smime.SignatureCheck:
    check = smime.check_signature(BytesContent(message))
    assert check is not None
    return check


FORMS = {
    "clear": [],
    "opaque": ["-nodetach"],
    "opaque-indefinite": ["-nodetach", "-stream"],
    "clear-key-identifier": ["-keyid"],
    "opaque-without-attributes": ["-nodetach", "-noattr"],
    "clear-without-attributes": ["-noattr"],
}


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key", ["rsa", "p256", "p384"])
def test_what_openssl_signs_verifies(
    signatories: dict[str, Signatory], key: str, digest: str, options: list[str]
) -> None:
    check = _check(_sign(signatories[key], "-md", digest, *options))
    assert (check.is_valid, check.reason) == (True, "")
    assert check.fingerprint == signatories[key].fingerprint
    assert check.addresses == (f"{key}@example.org", f"old-{key}@example.org")


@pytest.mark.parametrize("salt", ["-1", "20", "0"])
@pytest.mark.parametrize("mask", ["sha1", "sha256"])
def test_rsa_pss_verifies_with_any_salt_and_mask(
    signatories: dict[str, Signatory], salt: str, mask: str
) -> None:
    keyopts = ["rsa_padding_mode:pss", f"rsa_pss_saltlen:{salt}", f"rsa_mgf1_md:{mask}"]
    options = [word for option in keyopts for word in ("-keyopt", option)]
    assert _check(_sign(signatories["rsa"], "-md", "sha256", *options)).is_valid


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_one_changed_byte_of_the_content_voids_it(
    signatories: dict[str, Signatory], options: list[str]
) -> None:
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", *options[1:2]),
        *signatories["rsa"].files,
        given=ENTITY,
    )
    changed = der.replace(b"Unterlagen", b"Unterlagem")
    source = BytesContent(changed)
    check = smime.check_signature(source, content_type=cms.SIGNED_DATA)
    assert check is not None
    assert not check.is_valid
    clear = _sign(signatories["rsa"]).replace(b"Unterlagen", b"Unterlagem")
    assert not _check(clear).is_valid


def test_a_store_with_lf_line_ends_does_not_void_a_clear_signature(
    signatories: dict[str, Signatory],
) -> None:
    message = _sign(signatories["rsa"])
    assert _check(message.replace(b"\r\n", b"\n")).is_valid
    assert _check(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).is_valid


def test_a_signed_multipart_ends_where_the_outer_boundary_stands(
    signatories: dict[str, Signatory],
) -> None:
    multipart = (
        b'Content-Type: multipart/mixed; boundary="in"\r\n\r\npreamble\r\n--in\r\n\r\none\r\n'
        b"--in\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--in--\r\nepilogue\r\n"
    )
    assert _check(_sign(signatories["rsa"], entity=multipart)).is_valid


def test_white_space_before_an_opaque_signature_does_not_hide_it(
    signatories: dict[str, Signatory],
) -> None:
    header, gap, body = _sign(signatories["rsa"], "-nodetach").partition(b"\n\n")
    assert _check(header + gap + b"\n" * 9_000 + body).is_valid


def test_of_two_signers_the_one_that_verifies_is_told(signatories: dict[str, Signatory]) -> None:
    both = [*signatories["rsa"].files, *signatories["p256"].files]
    message = openssl("cms", "-sign", "-binary", *both, given=ENTITY)
    assert _check(message).fingerprint in {
        signatories[name].fingerprint for name in ("rsa", "p256")
    }


def test_a_signature_without_its_certificate_is_not_valid(
    signatories: dict[str, Signatory],
) -> None:
    check = _check(_sign(signatories["rsa"], "-nocerts"))
    assert (check.is_valid, check.fingerprint) == (False, "")
    assert check.reason == "its certificate is not in the message"


def test_the_certificate_of_somebody_else_does_not_help(signatories: dict[str, Signatory]) -> None:
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER"),
        *signatories["p256"].files,
        given=ENTITY,
    )
    own, other = (
        openssl("x509", "-outform", "DER", "-in", f"{signatories[name].directory}/{name}.pem")
        for name in ("p256", "p384")
    )
    # Same length is not needed: what does not fit is refused as damaged, too.
    check = smime.check_signature(
        BytesContent(der.replace(own, other)), content_type=cms.SIGNED_DATA
    )
    assert check is not None
    assert not check.is_valid


@pytest.mark.parametrize(
    "message",
    [
        ENTITY,
        b"Content-Type: multipart/signed\r\n\r\nno boundary\r\n",
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nonly one\r\n--b--\r\n",
        OPENPGP,
        b"",
    ],
)
def test_what_is_not_signed_with_smime_has_no_check(message: bytes) -> None:
    assert smime.check_signature(BytesContent(message)) is None


def test_a_cut_signature_is_one_that_does_not_verify(signatories: dict[str, Signatory]) -> None:
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER"),
        *signatories["p256"].files,
        given=ENTITY,
    )
    for end in range(len(der)):
        check = smime.check_signature(BytesContent(der[:end]), content_type=cms.SIGNED_DATA)
        assert check is not None
        assert not check.is_valid


def test_any_changed_byte_of_a_signature_raises_nothing_and_rarely_verifies(
    signatories: dict[str, Signatory],
) -> None:
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-nocerts", "-outform", "DER"),
        *signatories["p256"].files,
        given=ENTITY,
    )
    for offset in range(len(der)):
        changed = der[:offset] + bytes((der[offset] ^ 0x55,)) + der[offset + 1 :]
        check = smime.check_signature(BytesContent(changed), content_type=cms.SIGNED_DATA)
        assert check is not None
        assert not check.is_valid


def test_more_signers_than_anybody_has_are_refused(signatories: dict[str, Signatory]) -> None:
    limits = cms.Limits(signers=0)
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER"),
        *signatories["p256"].files,
        given=ENTITY,
    )

    class Source:
        def open(self) -> io.BytesIO:
            return io.BytesIO(der)

    with pytest.raises(Exception, match="more than 0 signed it"):
        cms.verify_signers(Source(), limits=limits)


@pytest.mark.parametrize("bare", [False, True], ids=["with ContentInfo", "bare"])
def test_signed_data_in_an_envelope_verifies_with_its_content_info_and_without(
    signatories: dict[str, Signatory], bare: bool
) -> None:
    files = signatories["rsa"].files
    command = ("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", *files)
    der = openssl(*command, given=ENTITY)
    if bare:
        assert der[:2] == b"\x30\x82"
        assert der[15:17] == b"\xa0\x82"
        der = der[19:]
    for content, is_valid in ((der, True), (der.replace(b"Unterlagen", b"Unterlagem"), False)):
        check = smime.check_signature(BytesContent(content), content_type=cms.SIGNED_DATA)
        assert check is not None
        assert check.is_valid is is_valid
