"""What a key history asks of each of its private keys, wherever the key lies: file or token."""

from __future__ import annotations

from typing import Protocol

from sectool.cms.seams import KeyOperations


class HeldOperations(KeyOperations, Protocol):
    """One private key by what it can do, with what is public of it."""

    @property
    def public_key_info(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""

    @property
    def algorithm(self) -> str:
        """Algorithm and size, such as ``RSA 2048``."""

    @property
    def is_on_token(self) -> bool:
        """Whether each use is one of a token: slow, and counted or asked about by some."""

    def called(self, label: str) -> HeldOperations:
        """The same key under another label."""

    @property
    def portable(self) -> PortableKey:
        """The same key for another process; a secret."""


class PortableKey(Protocol):
    """A private key, or the way to it, as a value that pickles; a secret."""

    def restore(self, label: str) -> HeldOperations:
        """The key again, in milliseconds: it was checked when it was loaded.

        Args:
            label: of the key.

        Raises:
            RunError: it lies on a token that does not let this process in.
        """
