"""What is wrong with one key file, as a value for a report and as the error that carries it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path

from sectool.errors import RunError
from sectool.values import dataclass


class ProblemKind(StrEnum):
    """Why a key or certificate of a file cannot be used."""

    PASSPHRASE = "passphrase"  # noqa: S105  # the name of a reason, no secret
    DAMAGED = "damaged"
    UNSUPPORTED = "unsupported"
    LIMIT = "limit"
    """A bound of ``sectool.keys.limits`` was reached."""
    UNREADABLE = "unreadable"
    """The system does not let the file be read."""
    MISLEADING = "misleading"
    """Somebody could have led root to it who may not read it."""
    EXPOSED = "exposed"
    """It was used all the same; others can read it."""
    UNCHECKED = "unchecked"
    """It was used all the same, since a person asked for it."""


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """One file, or one key in it, that could not be used; the others are."""

    path: Path
    reason: str
    """Lower case, without a full stop; holds no secret."""
    hint: str
    """What a person can do; empty when nothing helps."""
    kind: ProblemKind
    withholds_key: bool = True
    """Whether a private key that opens mail may lie in it, and is not held for this reason."""


class KeyFileError(RunError):
    """A key file, or one object in it, cannot be used.

    Stays within this room: whoever reads a file turns it into a ``KeyProblem``.
    """

    def __init__(
        self, message: str, *, kind: ProblemKind, hint: str = "", withholds_key: bool = True
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.withholds_key = withholds_key

    def about(self, path: Path) -> KeyProblem:
        """The same as a value, with the file it happened in."""
        return KeyProblem(path, self.message, self.hint_about(path), self.kind, self.withholds_key)

    def hint_about(self, path: Path) -> str:
        """The hint with the names of the file in its command, as a shell takes them."""
        hint = self.hint.replace("{file}", shlex.quote(str(path)))
        hint = hint.replace("{directory}", shlex.quote(str(path.parent)))
        return hint.replace("{stem}", shlex.quote(path.stem))


def damaged(message: str, *, hint: str = "") -> KeyFileError:
    """The bytes are not what their format says."""
    return KeyFileError(message, kind=ProblemKind.DAMAGED, hint=hint)


def unsupported(message: str, *, hint: str = "", withholds_key: bool = True) -> KeyFileError:
    """The bytes are whole, but need something that is not done here."""
    return KeyFileError(
        message, kind=ProblemKind.UNSUPPORTED, hint=hint, withholds_key=withholds_key
    )


def over_limit(message: str) -> KeyFileError:
    """A bound of ``sectool.keys.limits`` was reached."""
    return KeyFileError(message, kind=ProblemKind.LIMIT)


def passphrase_needed(what: str, *, given: bool) -> KeyFileError:
    """No passphrase opens ``what``.

    Args:
        what: the thing that stays shut, such as ``the PKCS#12 file``.
        given: whether a passphrase that is not empty was tried.
    """
    if given:
        reason = f"no passphrase given opens {what}, or it is damaged"
    else:
        reason = f"{what} needs a passphrase"
    return KeyFileError(
        reason,
        kind=ProblemKind.PASSPHRASE,
        hint="give it with --passphrase-file, --passphrases, --passphrase-command"
        " or SECTOOL_PASSPHRASE",
    )
