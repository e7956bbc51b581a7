"""People who sign with the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

KEYS = {
    "rsa": ["-newkey", "rsa:2048"],
    "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
}
"""Options of ``openssl req``."""


@dataclass(frozen=True)
class Signatory:
    """A certificate with its key, as files."""

    directory: Path
    name: str

    @property
    def address(self) -> str:
        """In the subject alternative name of the certificate."""
        return f"{self.name}@example.org"

    @property
    def files(self) -> list[str]:
        return ["-signer", f"{self.directory}/{self.name}.pem", "-inkey", self.key]

    @property
    def key(self) -> str:
        return f"{self.directory}/{self.name}.key"

    @property
    def fingerprint(self) -> str:
        text = openssl(
            *("x509", "-noout", "-fingerprint", "-sha256"),
            *("-in", f"{self.directory}/{self.name}.pem"),
        )
        return text.decode().partition("=")[2].strip().replace(":", "").lower()


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_signatory(directory: Path, name: str, key: str = "p256") -> Signatory:
    """A person whose certificate names ``NAME@example.org``, and ``old-NAME`` in its subject."""
    files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.pem"]
    subject = ["-subj", f"/CN={name}/emailAddress=old-{name}@example.org"]
    alternative = ["-addext", f"subjectAltName=email:{name}@example.org"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    request = ["req", "-x509", "-nodes", "-days", "3650", *subject, *alternative, *leaf]
    openssl(*request, *KEYS[key], *files)
    return Signatory(directory, name)


def sign(signatory: Signatory, entity: bytes, *options: str) -> bytes:
    """A signed entity: clear, or opaque with ``-nodetach``."""
    return openssl("cms", "-sign", "-binary", *signatory.files, *options, given=entity)
