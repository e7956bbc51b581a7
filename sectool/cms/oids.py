"""Object identifiers of CMS content types and algorithms, and what to call them.

A name here says nothing about whether sectool can open it: reports name what
they find.
"""

from __future__ import annotations

_PKCS7 = "1.2.840.113549.1.7"
_SMIME_CONTENT_TYPE = "1.2.840.113549.1.9.16.1"
_SMIME_ALGORITHM = "1.2.840.113549.1.9.16.3"
_PKCS5 = "1.2.840.113549.1.5"
_RSADSI_DIGEST = "1.2.840.113549.2"
_RSADSI_ENCRYPTION = "1.2.840.113549.3"
_AES = "2.16.840.1.101.3.4.1"
_HASH = "2.16.840.1.101.3.4.2"
_KEM = "2.16.840.1.101.3.4.4"
_CAMELLIA = "1.2.392.200011.61.1.1.1"
_CAMELLIA_WRAP = "1.2.392.200011.61.1.1.3"
_ARIA = "1.2.410.200046.1.1"
_SM4 = "1.2.156.10197.1.104"
_SECG = "1.3.132.1"

# Content types (RFC 5652, 5083, 3274, 3161, 5652 section 11 and their kin).
ID_DATA = f"{_PKCS7}.1"
SIGNED_DATA = f"{_PKCS7}.2"
ENVELOPED_DATA = f"{_PKCS7}.3"
SIGNED_AND_ENVELOPED_DATA = f"{_PKCS7}.4"
DIGESTED_DATA = f"{_PKCS7}.5"
ENCRYPTED_DATA = f"{_PKCS7}.6"
AUTHENTICATED_DATA = f"{_SMIME_CONTENT_TYPE}.2"
TST_INFO = f"{_SMIME_CONTENT_TYPE}.4"
COMPRESSED_DATA = f"{_SMIME_CONTENT_TYPE}.9"
AUTH_ENVELOPED_DATA = f"{_SMIME_CONTENT_TYPE}.23"

# Key transport (RFC 8017, RFC 4055).
RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSAES_OAEP = "1.2.840.113549.1.1.7"
MGF1 = "1.2.840.113549.1.1.8"
P_SPECIFIED = "1.2.840.113549.1.1.9"
SHA1 = "1.3.14.3.2.26"
SHA256 = f"{_HASH}.1"
SHA384 = f"{_HASH}.2"
SHA512 = f"{_HASH}.3"
SHA224 = f"{_HASH}.4"

# Signatures (RFC 3370, RFC 4055, RFC 5754) and their attributes (RFC 5652 section 11).
CONTENT_TYPE_ATTRIBUTE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST_ATTRIBUTE = "1.2.840.113549.1.9.4"
SHA1_WITH_RSA = "1.2.840.113549.1.1.5"
RSASSA_PSS = "1.2.840.113549.1.1.10"
SHA256_WITH_RSA = "1.2.840.113549.1.1.11"
SHA384_WITH_RSA = "1.2.840.113549.1.1.12"
SHA512_WITH_RSA = "1.2.840.113549.1.1.13"
SHA224_WITH_RSA = "1.2.840.113549.1.1.14"
ECDSA_SHA1 = "1.2.840.10045.4.1"
ECDSA_SHA224 = "1.2.840.10045.4.3.1"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"
ECDSA_SHA384 = "1.2.840.10045.4.3.3"
ECDSA_SHA512 = "1.2.840.10045.4.3.4"
DSA_SHA1 = "1.2.840.10040.4.3"
DSA_SHA224 = "2.16.840.1.101.3.4.3.1"
DSA_SHA256 = "2.16.840.1.101.3.4.3.2"

# Key agreement (RFC 5753 section 7.1.4, RFC 8418 section 4, RFC 5480, RFC 8410).
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
X25519 = "1.3.101.110"
X448 = "1.3.101.111"
ECDH_SHA1_KDF = "1.3.133.16.840.63.0.2"
ECDH_SHA224_KDF = f"{_SECG}.11.0"
ECDH_SHA256_KDF = f"{_SECG}.11.1"
ECDH_SHA384_KDF = f"{_SECG}.11.2"
ECDH_SHA512_KDF = f"{_SECG}.11.3"
ECDH_COFACTOR_SHA1_KDF = "1.3.133.16.840.63.0.3"
ECDH_COFACTOR_SHA224_KDF = f"{_SECG}.14.0"
ECDH_COFACTOR_SHA256_KDF = f"{_SECG}.14.1"
ECDH_COFACTOR_SHA384_KDF = f"{_SECG}.14.2"
ECDH_COFACTOR_SHA512_KDF = f"{_SECG}.14.3"
ECDH_HKDF_SHA256 = f"{_SMIME_ALGORITHM}.19"
ECDH_HKDF_SHA384 = f"{_SMIME_ALGORITHM}.20"
ECDH_HKDF_SHA512 = f"{_SMIME_ALGORITHM}.21"

# Key encapsulation (RFC 9936, RFC 8619).
ML_KEM_512 = f"{_KEM}.1"
ML_KEM_768 = f"{_KEM}.2"
ML_KEM_1024 = f"{_KEM}.3"
HKDF_SHA256 = f"{_SMIME_ALGORITHM}.28"
HKDF_SHA384 = f"{_SMIME_ALGORITHM}.29"
HKDF_SHA512 = f"{_SMIME_ALGORITHM}.30"

# Key wrap (RFC 3565, RFC 3217, RFC 3657, RFC 4010).
AES_128_WRAP = f"{_AES}.5"
AES_192_WRAP = f"{_AES}.25"
AES_256_WRAP = f"{_AES}.45"
TRIPLE_DES_WRAP = f"{_SMIME_ALGORITHM}.6"
CAMELLIA_128_WRAP = f"{_CAMELLIA_WRAP}.2"
CAMELLIA_192_WRAP = f"{_CAMELLIA_WRAP}.3"
CAMELLIA_256_WRAP = f"{_CAMELLIA_WRAP}.4"
SEED_WRAP = "1.2.410.200004.7.1.1.1"

# Passwords (RFC 3211, RFC 8018).
PWRI_KEK = f"{_SMIME_ALGORITHM}.9"
PBKDF2 = f"{_PKCS5}.12"
PSEUDORANDOM_FUNCTIONS = {
    f"{_RSADSI_DIGEST}.{arc}": name
    for arc, name in enumerate(("sha1", "sha224", "sha256", "sha384", "sha512"), 7)
}
"""Hashes of the HMACs of PBKDF2, as ``hashlib`` spells them (RFC 8018 appendix B.1)."""

# OtherRecipientInfo (RFC 9629).
ORI_KEM = "1.2.840.113549.1.9.16.13.3"

# Content encryption that has a row of its own (RFC 3565, RFC 5084, RFC 3370).
AES_128_CBC = f"{_AES}.2"
AES_192_CBC = f"{_AES}.22"
AES_256_CBC = f"{_AES}.42"
AES_128_GCM = f"{_AES}.6"
AES_192_GCM = f"{_AES}.26"
AES_256_GCM = f"{_AES}.46"
AES_128_CCM = f"{_AES}.7"
AES_192_CCM = f"{_AES}.27"
AES_256_CCM = f"{_AES}.47"
CHACHA20_POLY1305 = f"{_SMIME_ALGORITHM}.18"
CAMELLIA_128_CBC = f"{_CAMELLIA}.2"
CAMELLIA_192_CBC = f"{_CAMELLIA}.3"
CAMELLIA_256_CBC = f"{_CAMELLIA}.4"
SEED_CBC = "1.2.410.200004.1.4"
SM4_CBC = f"{_SM4}.2"
RC2_CBC = f"{_RSADSI_ENCRYPTION}.2"
DES_EDE3_CBC = f"{_RSADSI_ENCRYPTION}.7"
DES_CBC = "1.3.14.3.2.7"
CAST5_CBC = "1.2.840.113533.7.66.10"
IDEA_CBC = "1.3.6.1.4.1.188.7.1.1.2"
BLOWFISH_CBC = "1.3.6.1.4.1.3029.1.2"
CEK_HKDF_SHA256 = f"{_SMIME_ALGORITHM}.31"

_CONTENT_TYPE_NAMES = {
    ID_DATA: "data",
    SIGNED_DATA: "signed-data",
    ENVELOPED_DATA: "enveloped-data",
    SIGNED_AND_ENVELOPED_DATA: "signed-and-enveloped-data",
    DIGESTED_DATA: "digested-data",
    ENCRYPTED_DATA: "encrypted-data",
    AUTHENTICATED_DATA: "authenticated-data",
    TST_INFO: "tst-info",
    COMPRESSED_DATA: "compressed-data",
    AUTH_ENVELOPED_DATA: "auth-enveloped-data",
}


def _aes_names() -> dict[str, str]:
    modes = {1: "ecb", 2: "cbc", 3: "ofb", 4: "cfb", 6: "gcm", 7: "ccm"}
    return {
        f"{_AES}.{20 * step + arc}": f"aes-{128 + 64 * step}-{mode}"
        for step in range(3)
        for arc, mode in modes.items()
    }


def _aria_names() -> dict[str, str]:
    """RFC 5794 section 5: the plain modes of each key length, then GCM and CCM."""
    plain = ("ecb", "cbc", "cfb", "ofb", "ctr")
    return {
        f"{_ARIA}.{arc}": f"aria-{128 + 64 * step}-{mode}"
        for step in range(3)
        for arc, mode in (
            *enumerate(plain, 5 * step + 1),
            (34 + step, "gcm"),
            (37 + step, "ccm"),
        )
    }


_SM4_MODES = {1: "ecb", 3: "ofb", 4: "cfb", 7: "ctr", 8: "gcm", 9: "ccm"}

CONTENT_ENCRYPTION_NAMES = {
    **_aes_names(),
    DES_EDE3_CBC: "des-ede3-cbc",
    RC2_CBC: "rc2-cbc",
    f"{_RSADSI_ENCRYPTION}.4": "rc4",
    f"{_RSADSI_ENCRYPTION}.9": "rc5-cbc",
    DES_CBC: "des-cbc",
    CAST5_CBC: "cast5-cbc",
    IDEA_CBC: "idea-cbc",
    BLOWFISH_CBC: "blowfish-cbc",
    "1.3.6.1.4.1.11591.13.2.2": "serpent-128-cbc",
    "1.3.6.1.4.1.11591.13.2.22": "serpent-192-cbc",
    "1.3.6.1.4.1.11591.13.2.42": "serpent-256-cbc",
    CAMELLIA_128_CBC: "camellia-128-cbc",
    CAMELLIA_192_CBC: "camellia-192-cbc",
    CAMELLIA_256_CBC: "camellia-256-cbc",
    SEED_CBC: "seed-cbc",
    **_aria_names(),
    SM4_CBC: "sm4-cbc",
    **{f"{_SM4}.{arc}": f"sm4-{mode}" for arc, mode in _SM4_MODES.items()},
    "1.2.643.2.2.21": "gost28147-89",
    CHACHA20_POLY1305: "chacha20-poly1305",
    CEK_HKDF_SHA256: "cek-hkdf-sha256",
}

KEY_ENCRYPTION_NAMES = {
    RSA_ENCRYPTION: "rsa-pkcs1-v1_5",
    RSAES_OAEP: "rsa-oaep",
    f"{_SMIME_ALGORITHM}.5": "dh-ess",
    TRIPLE_DES_WRAP: "3des-wrap",
    f"{_SMIME_ALGORITHM}.7": "rc2-wrap",
    PWRI_KEK: "pwri-kek",
    f"{_SMIME_ALGORITHM}.10": "dh-ssdh",
    f"{_SMIME_ALGORITHM}.14": "rsa-kem",
    ECDH_HKDF_SHA256: "ecdh-hkdf-sha256",
    ECDH_HKDF_SHA384: "ecdh-hkdf-sha384",
    ECDH_HKDF_SHA512: "ecdh-hkdf-sha512",
    ECDH_SHA1_KDF: "ecdh-sha1kdf",
    ECDH_COFACTOR_SHA1_KDF: "ecdh-cofactor-sha1kdf",
    "1.3.133.16.840.63.0.16": "ecmqv-sha1kdf",
    **{
        f"{_SECG}.{family}.{arc}": f"{name}-{digest}kdf"
        for family, name in ((11, "ecdh"), (14, "ecdh-cofactor"), (15, "ecmqv"))
        for arc, digest in enumerate(("sha224", "sha256", "sha384", "sha512"))
    },
    AES_128_WRAP: "aes-128-wrap",
    AES_192_WRAP: "aes-192-wrap",
    AES_256_WRAP: "aes-256-wrap",
    CAMELLIA_128_WRAP: "camellia-128-wrap",
    CAMELLIA_192_WRAP: "camellia-192-wrap",
    CAMELLIA_256_WRAP: "camellia-256-wrap",
    SEED_WRAP: "seed-wrap",
    f"{_AES}.8": "aes-128-wrap-pad",
    f"{_AES}.28": "aes-192-wrap-pad",
    f"{_AES}.48": "aes-256-wrap-pad",
    ML_KEM_512: "ml-kem-512",
    ML_KEM_768: "ml-kem-768",
    ML_KEM_1024: "ml-kem-1024",
}


def content_type_name(oid: str) -> str:
    """What a person calls a content type, or the dotted identifier itself."""
    return _CONTENT_TYPE_NAMES.get(oid, oid)


def content_encryption_name(oid: str) -> str:
    """Lower-case name of a content-encryption algorithm, or the dotted identifier itself."""
    return CONTENT_ENCRYPTION_NAMES.get(oid, oid)


def key_encryption_name(oid: str) -> str:
    """Lower-case name of a key-encryption algorithm, or the dotted identifier itself."""
    return KEY_ENCRYPTION_NAMES.get(oid, oid)
