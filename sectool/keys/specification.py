"""Where a key history lies, as a value without secrets that jobs and workers can keep."""

from __future__ import annotations

from pathlib import Path

from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class KeySpecification:
    """Names the files of a key history; holds no secret and pickles."""

    paths: tuple[Path, ...] = ()
    """Key files, and directories that are searched for them."""
    passphrase_file: Path | None = None
    """Its first line is a passphrase for every file."""
    passphrases: Path | None = None
    """CSV of file name (path, or name alone) and passphrase."""
    secrets: Path | None = None
    """CSV of shared keys and passwords that mail was encrypted with."""
    try_keys: bool = False
    """Try keys without certificate on all mail."""
    try_tokens: bool = False
    """Try keys on tokens on mail that names certificates which are not at hand."""
    tokens: tuple[str, ...] = ()
    """``pkcs11:`` URIs (RFC 7512)."""
    pin_file: Path | None = None
    """Its first line is the PIN of the tokens whose URI names no file of its own."""

    passphrase_command: str = ""
    """Its first line of output is a passphrase for every file; empty: there is none."""
    checks_mac: bool = True
    """False to read PKCS#12 files although their MAC says nothing for them."""
    trust_group: str | None = None
    """Group whose members may lead root to a key file; None: nobody's."""

    @property
    def names_keys(self) -> bool:
        """Whether there is any place to look for private keys."""
        return bool(self.paths or self.tokens)
