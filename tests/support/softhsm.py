"""Tokens of SoftHSM 2, filled as people fill them: with softhsm2-util and pkcs11-tool."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sectool.keys.token_access import close_sessions

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "1234"


def missing_peer() -> str:
    """What is not installed; empty where all is there."""
    for program in ("softhsm2-util", "pkcs11-tool"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if importlib.util.find_spec("pkcs11") is None:
        return "python-pkcs11 is not installed"
    return "" if Path(MODULE).is_file() else f"{MODULE} is not there"


@dataclass(frozen=True)
class Store:
    """A directory of tokens with its configuration."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "softhsm2.conf"

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to see these tokens."""
        return {**os.environ, "SOFTHSM2_CONF": str(self.configuration)}

    def configure(self, *lines: str) -> Path:
        """Writes the configuration."""
        (self.directory / "tokens").mkdir(parents=True, exist_ok=True)
        text = [
            f"directories.tokendir = {self.directory / 'tokens'}",
            "objectstore.backend = file",
            "log.level = ERROR",
            *lines,
        ]
        self.configuration.write_text("\n".join(text) + "\n", encoding="utf-8")
        return self.configuration

    def make(self, token: str) -> None:
        """An empty token of this label."""
        init = ("--init-token", "--free", "--label", token, "--so-pin", "12345678", "--pin", PIN)
        self._run("softhsm2-util", *init)

    def write(
        self,
        token: str,
        number: int,
        key: PrivateKeyTypes,
        certificate: x509.Certificate | None = None,
        *,
        usage: Sequence[str] = (),
        with_public_key: bool = True,
    ) -> None:
        """A key under the id ``number``, with all that belongs to it."""
        private = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self._write(token, number, "privkey", private, *usage)
        if with_public_key:
            info = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self._write(token, number, "pubkey", info, *usage)
        if certificate is not None:
            self._write(token, number, "cert", certificate.public_bytes(Encoding.DER))

    def _write(self, token: str, number: int, kind: str, raw: bytes, *usage: str) -> None:
        path = self.directory / f"{number}.{kind}"
        path.write_bytes(raw)
        self._run(
            *("pkcs11-tool", "--module", MODULE, "--login", "--pin", PIN, "--token-label", token),
            *("--write-object", path, "--type", kind),
            *("--id", f"{number:02x}", "--label", f"key {number}", *usage),
        )

    def import_key(self, token: str, number: int, key: PrivateKeyTypes) -> None:
        """As softhsm2-util does it, which lets keys on curves sign only."""
        path = self.directory / f"{number}.p8"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._run(
            *("softhsm2-util", "--import", path, "--token", token, "--pin", PIN),
            *("--id", f"{number:02x}", "--label", f"key {number}"),
        )

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def uri(token: str, more: str = "", query: str = "") -> str:
    """A URI of a token here."""
    return f"pkcs11:token={token}{more}?module-path={MODULE}{query}"


def leave() -> None:
    """Unloads the module, which has read the configuration of a store that goes."""
    import pkcs11

    close_sessions()
    pkcs11.unload(MODULE)
