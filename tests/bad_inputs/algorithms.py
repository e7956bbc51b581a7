"""B21 to B45: what is wrong with keys, algorithms and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from Cryptodome.Cipher import ARC2
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.key_transport import encode_key_transport
from sectool.cms.seams import OAEP, PKCS1v15, RSAPadding
from sectool.errors import DecryptionFailed, MalformedMessage, UnsupportedMessage
from sectool.outcome import State
from tests.bad_inputs.encoding import (
    ATTRIBUTE_ONE,
    ATTRIBUTE_TWO,
    encrypted_content,
    flip,
    indefinite,
)
from tests.bad_inputs.people import Forger
from tests.bad_inputs.vector import CONTENT, OPENS, Envelope
from tests.support.forge import CONTENT_ENCRYPTION_KEY, IV, Person, asymmetric_padding

ATTRIBUTES = der.element(0xA1, ATTRIBUTE_ONE + ATTRIBUTE_TWO)
SHA256_ALGORITHM = der.sequence(der.oid(oids.SHA256), der.NULL)


def oaep(*parameters: bytes) -> bytes:
    return der.sequence(der.oid(oids.RSAES_OAEP), *parameters)


def mgf1(hash_algorithm: bytes) -> bytes:
    return der.sequence(der.oid(oids.MGF1), hash_algorithm)


OAEP_SHA256 = oaep(
    der.sequence(der.explicit(0, SHA256_ALGORITHM), der.explicit(1, mgf1(SHA256_ALGORITHM)))
)


def _with_tag(forge: Forger, *, size: int, declared: int | None) -> bytes:
    return forge.gcm(tag_size=declared, tag=lambda tag: (tag + bytes(16))[:size])


# --- keys that fit a name and not the mail ---


def _written_to(forge: Forger, key: Person, *, padding: RSAPadding | None = None) -> bytes:
    """A RecipientInfo that names Bob, for another key."""
    padding = padding or PKCS1v15()
    encrypted_key = key.key.public_key().encrypt(
        CONTENT_ENCRYPTION_KEY, asymmetric_padding(padding)
    )
    return encode_key_transport(forge.person.recipient.identifier, padding, encrypted_key)


def _to_twin_by_key_identifier(forge: Forger) -> bytes:
    encrypted_key = forge.twin.key.public_key().encrypt(
        CONTENT_ENCRYPTION_KEY, asymmetric_padding(PKCS1v15())
    )
    identifier = forge.person.subject_key_identifier
    return forge.cbc(recipients=[encode_key_transport(identifier, PKCS1v15(), encrypted_key)])


# --- content that was altered ---


def _with_gadget(forge: Forger) -> bytes:
    """A block of somebody's choice, and garbage before it, between blocks that stay as they are."""
    encrypted = encrypted_content(forge, PAGE)
    blocks = [encrypted[at : at + 16] for at in range(0, len(encrypted), 16)]
    # blocks[1] decrypts to PAGE[16:32] ^ blocks[0]; what is put before it makes it the choice.
    blocks[7] = bytes(
        a ^ b ^ c for a, b, c in zip(blocks[0], PAGE[16:32], b'<img src="//e.x/', strict=True)
    )
    blocks[8] = blocks[1]
    return forge.cbc(encrypted=b"".join(blocks))


PAGE = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + b"<p>secret</p>\r\n" * 70


def _content_of_gcm(forge: Forger) -> bytes:
    """Whole blocks of what AES-256-GCM gives under the same key."""
    cipher = Cipher(AES(CONTENT_ENCRYPTION_KEY), modes.GCM(bytes(12))).encryptor()
    return cipher.update(PAGE[:64])


EVEN = bytes(range(0x10, 0x58, 3))
"""Twenty-four bytes, most of them of even parity."""


def _old_cipher(
    forge: Forger,
    oid: str,
    parameters: bytes,
    key: bytes,
    encrypt: Callable[[bytes], bytes],
    block_size: int = 8,
) -> bytes:
    pad = block_size - len(CONTENT) % block_size
    return forge.cbc(
        algorithm=der.sequence(der.oid(oid), parameters),
        encrypted=encrypt(CONTENT + bytes((pad,)) * pad),
        recipients=[forge.recipient(key=key)],
    )


def _triple_des(key: bytes) -> Callable[[bytes], bytes]:
    return Cipher(TripleDES(key), modes.CBC(IV[:8])).encryptor().update


def _rc2_40(key: bytes) -> Callable[[bytes], bytes]:
    # The annotations of the library know no effective key length.
    cipher = ARC2.new(key, ARC2.MODE_CBC, iv=IV[:8], effective_keylen=40)  # type: ignore[call-arg]
    return cipher.encrypt


def _ccm(forge: Forger, *, altered: int | None = None) -> bytes:
    nonce = bytes(12)
    sealed = bytearray(AESCCM(CONTENT_ENCRYPTION_KEY, 16).encrypt(nonce, CONTENT, None))
    if altered is not None:
        sealed[altered] ^= 1
    parameters = der.sequence(der.octet_string(nonce), der.integer(16))
    info = der.sequence(
        der.oid(oids.ID_DATA),
        der.sequence(der.oid(oids.AES_256_CCM), parameters),
        der.element(0x80, bytes(sealed[:-16])),
    )
    return forge.envelope(
        oids.AUTH_ENVELOPED_DATA,
        [forge.recipient()],
        info,
        after=der.octet_string(bytes(sealed[-16:])),
    )


# --- key agreement ---


def _agreement(forge: Forger, point: bytes) -> bytes:
    """A KeyAgreeRecipientInfo for Bob's key on P-256 whose sender's key is that point."""
    identifier = forge.curve.recipient.identifier
    originator = der.sequence(der.oid(oids.EC_PUBLIC_KEY)) + der.element(3, b"\0" + point)
    key = der.sequence(
        der.sequence(identifier.issuer, der.integer(identifier.serial_number)),
        der.octet_string(bytes(40)),
    )
    wrap = der.sequence(der.oid(oids.AES_256_WRAP))
    recipient = der.element(
        0xA1,
        der.integer(3)
        + der.explicit(0, der.element(0xA1, originator))
        + der.sequence(der.oid(oids.ECDH_SHA256_KDF), wrap)
        + der.sequence(key),
    )
    return forge.cbc(recipients=[recipient])


P_256_X = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
P_256_Y = bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")

ALGORITHMS = (
    Envelope(
        "B22",
        "bob.env.wrong-key-oaep",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(encrypted_key=bytes(255) + b"\x09", algorithm=OAEP_SHA256)]
        ),
        DecryptionFailed,
    ),
    Envelope(
        "B26",
        "bob.env.key-of-wrong-length",
        lambda forge: forge.cbc(recipients=[forge.recipient(key=bytes(24))]),
        DecryptionFailed,
    ),
    Envelope(
        "B27",
        "bob.env.not-whole-blocks",
        lambda forge: forge.cbc(encrypted=bytes(47)),
        MalformedMessage,
    ),
    Envelope(
        "B28", "bob.env.padding-0x00", lambda forge: forge.cbc(padded=bytes(32)), DecryptionFailed
    ),
    Envelope(
        "B28",
        "bob.env.padding-0x11",
        lambda forge: forge.cbc(padded=b"\x11" * 32),
        DecryptionFailed,
    ),
    Envelope(
        "B28",
        "bob.env.padding-differs",
        lambda forge: forge.cbc(padded=bytes(28) + b"\x03\x04\x04\x04"),
        DecryptionFailed,
    ),
    Envelope("B29", "bob.env.iv-too-short", lambda forge: forge.cbc(iv=bytes(8)), MalformedMessage),
    Envelope("B29", "bob.env.iv-empty", lambda forge: forge.cbc(iv=b""), MalformedMessage),
    Envelope("B29", "bob.env.iv-1-kb", lambda forge: forge.cbc(iv=bytes(1024)), MalformedMessage),
    Envelope(
        "B29",
        "bob.env.iv-missing",
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid(oids.AES_256_CBC))),
        MalformedMessage,
    ),
    Envelope(
        "B30",
        "bob.env.last-block-altered",
        lambda forge: forge.cbc(encrypted=flip(encrypted_content(forge), -17)),
        DecryptionFailed,
    ),
    Envelope(
        "B32",
        "bob.authenv.tag-altered",
        lambda forge: forge.gcm(tag=lambda tag: flip(tag, 15)),
        DecryptionFailed,
    ),
    Envelope(
        "B32",
        "bob.authenv.tag-of-12-altered",
        lambda forge: forge.gcm(tag_size=None, tag=lambda tag: flip(tag[:12], 11)),
        DecryptionFailed,
    ),
    Envelope(
        "B33", "bob.authenv.tag-of-16-undeclared", lambda forge: forge.gcm(tag_size=None), OPENS
    ),
    Envelope(
        "B33",
        "bob.authenv.tag-of-12-undeclared",
        lambda forge: forge.gcm(tag_size=None, tag=lambda tag: tag[:12]),
        OPENS,
    ),
    Envelope(
        "B33",
        "bob.authenv.tag-of-13",
        lambda forge: forge.gcm(tag_size=13, tag=lambda tag: tag[:13]),
        OPENS,
    ),
    *(
        Envelope(
            "B33",
            f"bob.authenv.tag-of-{size}-declared-{declared}",
            partial(_with_tag, size=size, declared=declared),
            MalformedMessage,
        )
        for size, declared in (
            (0, None),
            (1, 1),
            (4, 4),
            (8, 8),
            (8, None),
            (14, None),
            (12, 16),
            (16, 12),
            (17, None),
            (17, 17),
            (0, 0),
            (16, -16),
        )
    ),
    Envelope(
        "B34",
        "bob.env.auth-enveloped-cbc",
        lambda forge: forge.cbc(
            content_type=oids.AUTH_ENVELOPED_DATA, after=der.octet_string(bytes(16))
        ),
        MalformedMessage,
    ),
    Envelope(
        "B34",
        "bob.authenv.auth-enveloped-ofb",
        lambda forge: forge.gcm(oid="2.16.840.1.101.3.4.1.43"),
        UnsupportedMessage,
    ),
    Envelope(
        "B34",
        "bob.env.mac-missing",
        lambda forge: forge.cbc(content_type=oids.AUTH_ENVELOPED_DATA),
        MalformedMessage,
    ),
    Envelope(
        "B35",
        "bob.env.gcm-in-enveloped",
        lambda forge: forge.cbc(
            algorithm=der.sequence(
                der.oid(oids.AES_256_GCM),
                der.sequence(der.octet_string(bytes(12)), der.integer(16)),
            )
        ),
        UnsupportedMessage,
    ),
    Envelope(
        "B36", "bob.authenv.attributes", lambda forge: forge.gcm(attributes=ATTRIBUTES), OPENS
    ),
    Envelope(
        "B36",
        "bob.authenv.attributes-not-in-der",
        lambda forge: forge.gcm(
            attributes=indefinite(0xA1, ATTRIBUTE_TWO, ATTRIBUTE_ONE), signed_attributes=ATTRIBUTES
        ),
        OPENS,
    ),
    Envelope(
        "B36",
        "bob.authenv.unauthenticated-attributes",
        lambda forge: forge.gcm(after=der.element(0xA2, ATTRIBUTE_ONE)),
        OPENS,
    ),
    Envelope(
        "B36",
        "bob.authenv.attributes-altered",
        lambda forge: forge.gcm(
            attributes=ATTRIBUTES, signed_attributes=der.element(0xA1, ATTRIBUTE_ONE)
        ),
        DecryptionFailed,
    ),
    Envelope(
        "B37",
        "bob.env.sha512",
        lambda forge: forge.cbc(recipients=[forge.recipient(rsa_padding=OAEP("sha512", "sha512"))]),
        OPENS,
    ),
    Envelope(
        "B37",
        "bob.env.mixed-hashes-and-label",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(rsa_padding=OAEP("sha256", "sha1", b"label"))]
        ),
        OPENS,
    ),
    Envelope(
        "B37",
        "bob.env.all-defaults",
        lambda forge: forge.cbc(recipients=[forge.recipient(rsa_padding=OAEP())]),
        OPENS,
    ),
    Envelope(
        "B37",
        "bob.env.parameters-missing",
        lambda forge: forge.cbc(recipients=[forge.recipient(rsa_padding=OAEP(), algorithm=oaep())]),
        OPENS,
    ),
    Envelope(
        "B37",
        "bob.env.parameters-missing-and-pkcs1-v15",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(rsa_padding=PKCS1v15(), algorithm=oaep())]
        ),
        DecryptionFailed,
    ),
    Envelope(
        "B37",
        "bob.env.parameters-null",
        lambda forge: forge.cbc(recipients=[forge.recipient(algorithm=oaep(der.NULL))]),
        MalformedMessage,
    ),
    Envelope(
        "B37",
        "bob.env.parameters-octets",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=oaep(der.octet_string(b"junk")))]
        ),
        MalformedMessage,
    ),
    Envelope(
        "B37",
        "bob.env.fields-out-of-order",
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(
                        der.sequence(
                            der.explicit(1, mgf1(SHA256_ALGORITHM)),
                            der.explicit(0, SHA256_ALGORITHM),
                        )
                    )
                )
            ]
        ),
        MalformedMessage,
    ),
    Envelope(
        "B37",
        "bob.env.field-unknown",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=oaep(der.sequence(der.explicit(3, der.NULL))))]
        ),
        MalformedMessage,
    ),
    Envelope(
        "B37",
        "bob.env.hash-unknown",
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(
                        der.sequence(der.explicit(0, der.sequence(der.oid("1.2.840.113549.2.5"))))
                    )
                )
            ]
        ),
        UnsupportedMessage,
    ),
    Envelope(
        "B37",
        "bob.env.mgf-unknown",
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=oaep(der.sequence(der.explicit(1, der.sequence(der.oid("1.2.3")))))
                )
            ]
        ),
        UnsupportedMessage,
    ),
    Envelope(
        "B38",
        "bob.env.rc4",
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid("1.2.840.113549.3.4"), der.NULL)),
        UnsupportedMessage,
    ),
    Envelope(
        "B39",
        "bob.env.content-encryption",
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid("1.2.3.4.5"), der.NULL)),
        UnsupportedMessage,
    ),
    Envelope(
        "B39",
        "bob.env.key-encryption",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=der.sequence(der.oid("1.2.3.4.5")))]
        ),
        UnsupportedMessage,
    ),
    Envelope("B44", "bob.authenv.nonce-of-0", lambda forge: forge.gcm(nonce=b""), MalformedMessage),
    Envelope(
        "B44", "bob.authenv.nonce-of-7", lambda forge: forge.gcm(nonce=bytes(7)), UnsupportedMessage
    ),
    Envelope("B44", "bob.authenv.nonce-of-8", lambda forge: forge.gcm(nonce=bytes(8)), OPENS),
    Envelope(
        "B44",
        "bob.authenv.nonce-of-16",
        lambda forge: forge.gcm(nonce=bytes(16)),
        OPENS,
    ),
    Envelope(
        "B21",
        "stranger.env.named-as-bob",
        lambda forge: forge.cbc(recipients=[_written_to(forge, forge.stranger)]),
        DecryptionFailed,
    ),
    Envelope(
        "B22",
        "stranger.env.named-as-bob.oaep",
        lambda forge: forge.cbc(
            recipients=[_written_to(forge, forge.stranger, padding=OAEP("sha256", "sha256"))]
        ),
        DecryptionFailed,
    ),
    Envelope(
        "B23",
        "stranger.authenv.named-as-bob",
        lambda forge: forge.gcm(recipients=[_written_to(forge, forge.stranger)]),
        DecryptionFailed,
    ),
    Envelope(
        "B24",
        "twin.env.named-as-bob",
        lambda forge: forge.cbc(recipients=[_written_to(forge, forge.twin)]),
        OPENS,
    ),
    Envelope("B25", "twin.env.named-by-key-identifier", _to_twin_by_key_identifier, OPENS),
    Envelope(
        "B28",
        "bob.env.padding-of-a-whole-block",
        lambda forge: forge.cbc(PAGE[:64]),
        OPENS,
        PAGE[:64],
    ),
    Envelope(
        "B30",
        "bob.env.first-block-altered",
        lambda forge: forge.cbc(encrypted=flip(encrypted_content(forge, PAGE), 3)),
        OPENS,
        None,
        State.REVIEW,
    ),
    Envelope(
        "B30",
        "bob.env.middle-block-altered",
        lambda forge: forge.cbc(encrypted=flip(encrypted_content(forge, PAGE), 600)),
        OPENS,
        None,
    ),
    Envelope("B31", "bob.env.gadget", _with_gadget, OPENS, None),
    Envelope(
        "B35",
        "bob.env.gcm-called-cbc",
        lambda forge: forge.cbc(encrypted=_content_of_gcm(forge)),
        DecryptionFailed,
    ),
    Envelope(
        "B38",
        "bob.env.des-ede3-cbc.even-parity",
        lambda forge: _old_cipher(
            forge, oids.DES_EDE3_CBC, der.octet_string(IV[:8]), EVEN, _triple_des(EVEN)
        ),
        OPENS,
    ),
    Envelope(
        "B38",
        "bob.env.des-cbc",
        lambda forge: _old_cipher(
            forge, oids.DES_CBC, der.octet_string(IV[:8]), EVEN[:8], _triple_des(EVEN[:8] * 3)
        ),
        OPENS,
    ),
    Envelope(
        "B38",
        "bob.env.rc2-cbc.40-bits",
        lambda forge: _old_cipher(
            forge,
            oids.RC2_CBC,
            der.sequence(der.integer(160), der.octet_string(IV[:8])),
            EVEN[:5],
            _rc2_40(EVEN[:5]),
        ),
        OPENS,
    ),
    Envelope(
        "B40",
        "bob.env.p-256.point-off-the-curve",
        lambda forge: _agreement(forge, b"\4" + P_256_X + flip(P_256_Y, 31)),
        DecryptionFailed,
    ),
    Envelope(
        "B40",
        "bob.env.p-256.point-at-infinity",
        lambda forge: _agreement(forge, b"\0"),
        DecryptionFailed,
    ),
    Envelope(
        "B40",
        "bob.env.p-256.generator-for-a-key",
        lambda forge: _agreement(forge, b"\4" + P_256_X + P_256_Y),
        DecryptionFailed,
    ),
    Envelope("B45", "bob.authenv.aes-256-ccm", _ccm, OPENS),
    Envelope(
        "B45", "bob.authenv.aes-256-ccm.tag-altered", partial(_ccm, altered=-1), DecryptionFailed
    ),
    Envelope(
        "B45", "bob.authenv.aes-256-ccm.content-altered", partial(_ccm, altered=0), DecryptionFailed
    ),
)
