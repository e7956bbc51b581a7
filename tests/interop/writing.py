"""What each program is asked to write, in its own words, and what sectool makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product
from typing import Any

from sectool import cms
from tests.interop.table import Cell, PeerName, Section
from tests.support.peers import LEGACY

SHARED_KEY = bytes(32)
SECRETS = cms.SharedSecrets({b"list": SHARED_KEY, b"half": SHARED_KEY[:16]}, (b"horse",))
CURVES = ("p-256", "p-384", "p-521", "brainpool-256", "brainpool-384", "brainpool-512")
_RSA = ("rsa",)
_SHA = (1, 224, 256, 384, 512)


class Form(Enum):
    """What the program's output is."""

    CMS = auto()
    """An envelope in DER or BER."""
    BODY = auto()
    """The body of an entity of type application/pkcs7-mime, without an encoding of its own."""
    MESSAGE = auto()
    """With its header."""


@dataclass(frozen=True)
class Writing:
    """Envelopes of one kind by one program: one to a holder of each kind of key."""

    section: Section
    row: str
    peer: PeerName
    words: tuple[str, ...]
    """In the language of the program."""
    kinds: tuple[str, ...] = _RSA
    """Of keys, as ``forge.KEYS`` calls them; empty: the recipient is no person."""
    variant: str = ""
    """What tells it from others of its row."""
    names: tuple[str, ...] = ()
    """Algorithms that the description of the envelope must name."""
    is_authenticated: bool = False
    """Whether opening proves who the message can be from: by its kind, not by luck."""
    is_one_envelope: bool = False
    """One to all of them, and not one to each."""
    identified_by: type[cms.RecipientIdentifier] | None = cms.IssuerAndSerialNumber
    """How it names its recipient; None: it names nobody."""
    form: Form = Form.CMS
    unsupported: str = ""
    """What sectool names when it leaves the message as it is; empty: it opens it."""
    cannot: str = ""
    """A pattern of what the program says when it refuses to write; empty: it writes."""

    @property
    def cell(self) -> Cell:
        return Cell(self.section, self.row, self.peer)

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.peer, self.row, self.variant)))


_AEAD = ("gcm", "ccm", "poly1305")
_OPENSSL_CONTENT = {
    **{f"aes-{bits}-cbc": f"-aes{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-gcm": f"-aes-{bits}-gcm" for bits in (128, 192, 256)},
    "des-ede3-cbc": "-des3",
    **{f"camellia-{bits}-cbc": f"-camellia{bits}" for bits in (128, 192, 256)},
    "sm4-cbc": "-sm4-cbc",
}
_OPENSSL_LEGACY = {
    "des-cbc": "-des",
    "rc2-cbc 40": "-rc2-40-cbc",
    "rc2-cbc 64": "-rc2-64-cbc",
    "rc2-cbc 128": "-rc2-cbc",
    "cast5-cbc 128": "-cast5-cbc",
    "blowfish-cbc": "-bf-cbc",
    "seed-cbc": "-seed",
}
_OPENSSL_UNSUPPORTED = (
    *(f"aria-{bits}-{mode}" for bits, mode in product((128, 192, 256), ("cbc", "ctr", "gcm"))),
    *(f"sm4-{mode}" for mode in ("ctr", "cfb", "ofb", "ecb")),
    *(f"aes-{bits}-{mode}" for bits, mode in product((128, 192, 256), ("cfb", "ofb", "ecb"))),
    "rc4",
)
_FORMS = {"DER": (), "B05-BER": ("-stream", "-indef")}


def _openssl_content() -> Iterator[Writing]:
    section, peer = Section.CONTENT, PeerName.OPENSSL
    opened: dict[str, tuple[str, ...]] = {
        row: (option,) for row, option in _OPENSSL_CONTENT.items()
    }
    opened |= {row: (*LEGACY, option) for row, option in _OPENSSL_LEGACY.items()}
    for (row, words), (form, options) in product(opened.items(), _FORMS.items()):
        yield Writing(
            section,
            row,
            peer,
            (*options, *words),
            variant=form,
            names=(row.split()[0],),
            is_authenticated=row.endswith(_AEAD),
        )
    for row in _OPENSSL_UNSUPPORTED:
        yield Writing(section, row, peer, (*LEGACY, f"-{row}"), unsupported=row)
    for row in ("aes-256-ccm", "chacha20-poly1305"):
        yield Writing(section, row, peer, (f"-{row}",), cannot="[a-z ]*unsupported[a-z ]*")


_BOUNCY_CONTENT = {
    **{
        f"aes-{bits}-{mode}": f"AES{bits}_{mode.upper()}"
        for mode, bits in product(("cbc", "gcm", "ccm"), (128, 192, 256))
    },
    "des-ede3-cbc": "DES_EDE3_CBC",
    **{f"camellia-{bits}-cbc": f"CAMELLIA{bits}_CBC" for bits in (128, 192, 256)},
    "des-cbc": "DES_CBC",
    **{f"rc2-cbc {bits}": f"RC2_CBC:{bits}" for bits in (40, 64, 128)},
    "cast5-cbc 128": "CAST5_CBC",
    "seed-cbc": "SEED_CBC",
    "idea-cbc": "IDEA_CBC",
}


def _bouncy_castle_content() -> Iterator[Writing]:
    section, peer = Section.CONTENT, PeerName.BOUNCY_CASTLE
    for row, cipher in _BOUNCY_CONTENT.items():
        is_authenticated = row.endswith(_AEAD)
        ways: dict[str, tuple[str, ...]] = {"": ("rsa", cipher)}
        if is_authenticated:
            ways["with attributes"] = ("rsa", "attributes", cipher)
        for variant, words in ways.items():
            yield Writing(
                section,
                row,
                peer,
                words,
                variant=variant,
                names=(row.split()[0],),
                is_authenticated=is_authenticated,
            )
        if row.endswith("gcm"):
            behind = f"{row} in enveloped-data"
            yield Writing(
                section,
                behind,
                peer,
                ("rsa", "enveloped", cipher),
                names=(row,),
                is_authenticated=True,
            )
    gost = "gost28147-89"
    yield Writing(section, gost, peer, ("rsa", "GOST28147_GCFB"), unsupported=gost)


_GPGSM_CONTENT = {
    **{f"aes-{bits}-cbc": f"AES{bits}" for bits in (128, 192, 256)},
    "des-ede3-cbc": "3DES",
    **{f"camellia-{bits}-cbc": f"CAMELLIA{bits}" for bits in (128, 192, 256)},
    "seed-cbc": "SEED",
}


def _gpgsm_content() -> Iterator[Writing]:
    section, peer = Section.CONTENT, PeerName.GPGSM
    for row, cipher in _GPGSM_CONTENT.items():
        yield Writing(section, row, peer, (cipher,), names=(row,))
    for bits in (128, 192, 256):
        row = f"serpent-{bits}-cbc"
        yield Writing(section, row, peer, (f"SERPENT{bits}",), unsupported=row)
    refusal = "selected cipher algorithm is invalid"
    for row, cipher in (("des-cbc", "DES"), ("rc2-cbc 40", "RFC2268_40")):
        yield Writing(section, row, peer, (cipher,), cannot=refusal)


def _by_each(
    section: Section, row: str, said: Mapping[PeerName, tuple[str, ...]], **others: Any
) -> Iterator[Writing]:
    """The same kind of envelope by several programs."""
    for peer, words in said.items():
        yield Writing(section, row, peer, words, **others)


def _transport() -> Iterator[Writing]:
    section = Section.TRANSPORT
    row = "PKCS #1 v1.5, by subject key identifier"
    said: dict[PeerName, tuple[str, ...]] = {
        PeerName.OPENSSL: ("-aes256", "-keyid"),
        PeerName.BOUNCY_CASTLE: ("rsa-by-key-identifier", "AES256_CBC"),
    }
    yield from _by_each(section, row, said, identified_by=cms.SubjectKeyIdentifier)
    proof: dict[str, Any] = {"names": ("rsa-oaep",), "is_authenticated": True}
    said = {PeerName.OPENSSL: ("-aes128", *_key_options("rsa_padding_mode:oaep"))}
    yield from _by_each(section, "OAEP with SHA-1", said, variant="by default", **proof)
    for size, mask_size, label in product(_SHA, _SHA, ("", "label")):
        options = _key_options(
            "rsa_padding_mode:oaep",
            f"rsa_oaep_md:sha{size}",
            f"rsa_mgf1_md:sha{mask_size}",
            *([f"rsa_oaep_label:{label.encode().hex()}"] if label else []),
        )
        oaep = ("oaep", f"SHA-{size}", f"SHA-{mask_size}", label or "-")
        said = {
            PeerName.OPENSSL: ("-aes128", *options),
            PeerName.BOUNCY_CASTLE: (*oaep, "AES128_CBC"),
        }
        variant = f"MGF1 with SHA-{mask_size} {label}".strip()
        yield from _by_each(section, f"OAEP with SHA-{size}", said, variant=variant, **proof)


def _key_options(*options: str) -> tuple[str, ...]:
    return tuple(word for option in options for word in ("-keyopt", option))


_WRAPS = {
    "aes-128-wrap": ("-aes128-wrap", "AES128_WRAP"),
    "aes-192-wrap": ("-aes192-wrap", "AES192_WRAP"),
    "aes-256-wrap": ("-aes256-wrap", "AES256_WRAP"),
    "3des-wrap": ("-des3-wrap", "DES_EDE3_WRAP"),
}


def _agreement() -> Iterator[Writing]:
    section = Section.AGREEMENT
    for is_cofactor, size, wrap in product((False, True), _SHA, _WRAPS):
        scheme = f"ecdh-{'cofactor-' if is_cofactor else ''}sha{size}kdf"
        option, bouncy_wrap = _WRAPS[wrap]
        cofactor = ("ecdh_cofactor_mode:1",) if is_cofactor else ()
        options = _key_options(f"ecdh_kdf_md:sha{size}", *cofactor)
        asked = ("agreement", f"{'ECCDH' if is_cofactor else 'ECDH'}_SHA{size}KDF", bouncy_wrap)
        plain = {
            PeerName.OPENSSL: ("-aes256", option, *options),
            PeerName.BOUNCY_CASTLE: (*asked, "-", "-", "AES256_CBC"),
        }
        with_ukm = {PeerName.BOUNCY_CASTLE: (*asked, "ukm", "-", "AES256_CBC")}
        for variant, said in (("", plain), ("with keying material", with_ukm)):
            yield from _by_each(
                section,
                f"{scheme}, {wrap}",
                said,
                kinds=CURVES,
                variant=variant,
                names=(scheme,),
                is_authenticated=True,
            )
    yield from _other_agreement()


def _other_agreement() -> Iterator[Writing]:
    section = Section.AGREEMENT
    asked = ("agreement", "ECDH_SHA256KDF", "AES256_WRAP", "-")
    to_curves: dict[str, Any] = {"kinds": CURVES, "is_authenticated": True}
    said: dict[PeerName, tuple[str, ...]] = {
        PeerName.OPENSSL: ("-aes256", "-keyid"),
        PeerName.BOUNCY_CASTLE: (*asked, "by-key-identifier", "AES256_CBC"),
    }
    row = "by subject key identifier"
    yield from _by_each(section, row, said, identified_by=cms.SubjectKeyIdentifier, **to_curves)
    said = {
        PeerName.OPENSSL: ("-aes-256-gcm", *_key_options("ecdh_kdf_md:sha256")),
        PeerName.BOUNCY_CASTLE: (*asked, "-", "AES256_GCM"),
    }
    yield from _by_each(section, "to aes-256-gcm content", said, **to_curves)
    said = {PeerName.BOUNCY_CASTLE: (*asked, "-", "AES256_CCM")}
    yield from _by_each(section, "to aes-256-ccm content", said, **to_curves)
    # SEED's wrap is tried with a shared key: version 1.72 derives its key as if it had -1 bits.
    for bits in (128, 192, 256):
        wrap = (f"CAMELLIA{bits}_WRAP", "-", "-", "AES256_CBC")
        said = {PeerName.BOUNCY_CASTLE: (*asked[:2], *wrap)}
        row = f"ecdh-sha256kdf, camellia-{bits}-wrap"
        yield from _by_each(section, row, said, **to_curves)
    said = {PeerName.BOUNCY_CASTLE: ("agreement", "ECMQV_SHA256KDF", *asked[2:], "-", "AES256_CBC")}
    yield from _by_each(section, "ECMQV", said, kinds=("p-256",), unsupported="ecmqv-sha256kdf")


def _secrets() -> Iterator[Writing]:
    section = Section.SECRETS
    said: dict[PeerName, tuple[str, ...]]
    to_nobody: dict[str, Any] = {"kinds": (), "identified_by": None}
    key = ("-secretkey", SHARED_KEY.hex(), "-secretkeyid", b"list".hex())
    for name, option, cipher in (
        ("aes-256-cbc", "-aes256", "AES256_CBC"),
        ("aes-256-gcm", "-aes-256-gcm", "AES256_GCM"),
    ):
        said = {
            PeerName.OPENSSL: (option, *key),
            PeerName.BOUNCY_CASTLE: ("shared", "list", "AES", "32", cipher),
        }
        row, names = f"shared key, to {name} content", (name, "aes-256-wrap")
        yield from _by_each(section, row, said, names=names, is_authenticated=True, **to_nobody)
    for wrap, name, cipher, key_size in (
        ("camellia-256-wrap", "list", "Camellia", "32"),
        ("seed-wrap", "half", "SEED", "16"),
    ):
        said = {PeerName.BOUNCY_CASTLE: ("shared", name, cipher, key_size, "AES256_CBC")}
        row = f"shared key, {wrap}"
        yield from _by_each(section, row, said, names=(wrap,), is_authenticated=True, **to_nobody)
    for name, option, cipher in (
        ("aes-128-cbc", "-aes128", "AES128_CBC"),
        ("aes-256-cbc", "-aes256", "AES256_CBC"),
        ("des-ede3-cbc", "-des3", "DES_EDE3_CBC"),
    ):
        row, names = f"password, key encrypted with {name}", (name, "pwri-kek")
        said = {PeerName.OPENSSL: (option, "-pwri_password", "horse")}
        yield from _by_each(section, row, said, names=names, **to_nobody)
        for size in _SHA:
            said = {PeerName.BOUNCY_CASTLE: ("password", "horse", cipher, f"HMacSHA{size}", cipher)}
            variant = f"PBKDF2 with SHA-{size}"
            yield from _by_each(section, row, said, variant=variant, names=names, **to_nobody)


_CHOSEN: dict[PeerName, dict[str, tuple[str, ...]]] = {
    PeerName.OPENSSL: {
        "rsa": ("rsa-pkcs1-v1_5", "des-ede3-cbc"),
        **dict.fromkeys(CURVES, ("ecdh-sha1kdf", "des-ede3-cbc")),
    },
    PeerName.THUNDERBIRD: {
        "rsa": ("rsa-pkcs1-v1_5", "aes-128-cbc"),
        "p-256": ("ecdh-sha256kdf", "aes-128-cbc"),
        "p-384": ("ecdh-sha384kdf", "aes-256-cbc"),
        "p-521": ("ecdh-sha384kdf", "aes-256-cbc"),
    },
    PeerName.DEBIAN_NSS: {"rsa": ("rsa-pkcs1-v1_5", "aes-128-cbc")},
    PeerName.GPGSM: {"rsa": ("rsa-pkcs1-v1_5",)},
}
"""By kind of key, the algorithms a program takes when nobody names one."""
_NOT_CHOSEN = {
    (PeerName.OPENSSL, "x25519"): "operation not supported for this keytype",
    **{(PeerName.DEBIAN_NSS, kind): "SEC_ERROR_[A-Z_]*" for kind in CURVES[:3]},
    **{(PeerName.GPGSM, kind): "Wrong key usage" for kind in CURVES[:3]},
}
"""What a program says when it takes none."""


def _chosen() -> Iterator[Writing]:
    section = Section.CHOSEN
    for peer, rows in _CHOSEN.items():
        for kind, names in rows.items():
            yield Writing(
                section,
                f"to {kind}",
                peer,
                (),
                (kind,),
                names=names,
                is_authenticated=kind in CURVES,
            )
    for (peer, kind), refusal in _NOT_CHOSEN.items():
        yield Writing(section, f"to {kind}", peer, (), (kind,), cannot=refusal)
    for peer, kinds in ((PeerName.OPENSSL, CURVES), (PeerName.THUNDERBIRD, CURVES[:2])):
        row = "to several curves at once"
        yield Writing(section, row, peer, (), kinds, is_one_envelope=True, is_authenticated=True)


def _forms() -> Iterator[Writing]:
    section = Section.FORMS
    openssl, gpgsm = PeerName.OPENSSL, PeerName.GPGSM
    for row, form, peer, words, variant in (
        ("binary", Form.BODY, openssl, ("-aes256",), ""),
        ("binary", Form.BODY, gpgsm, (), ""),
        ("base64", Form.BODY, gpgsm, ("--base64",), ""),
        ("PEM armour", Form.BODY, openssl, ("-aes256", "-outform", "PEM"), "cms"),
        ("PEM armour", Form.BODY, openssl, ("smime", "-aes256", "-outform", "PEM"), "smime"),
        ("PEM armour", Form.BODY, gpgsm, ("--armor",), ""),
        ("a whole message", Form.MESSAGE, openssl, ("-aes256", "-outform", "SMIME"), "cms"),
        ("a whole message", Form.MESSAGE, openssl, ("-aes-256-gcm", "-outform", "SMIME"), "GCM"),
        ("a whole message", Form.MESSAGE, openssl, ("smime", "-outform", "SMIME"), "smime"),
    ):
        yield Writing(section, row, peer, words, variant=variant, form=form)


WRITINGS = (
    *_openssl_content(),
    *_bouncy_castle_content(),
    *_gpgsm_content(),
    *_transport(),
    *_agreement(),
    *_secrets(),
    *_chosen(),
    *_forms(),
)
