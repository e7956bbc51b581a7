"""Notices detached signatures that stand among the parts of a message without a multipart/signed.

They may be over an encrypted part beside them, which must then stay as it is.
"""

from __future__ import annotations

from sectool.mime.entities import Entity
from sectool.smime.finding.recognition import is_detached_signature


class DetachedSignatures:
    """Watches the entities of one message go by."""

    def __init__(self) -> None:
        self._messages = {""}
        self._signatures: set[str] = set()

    def add(self, entity: Entity) -> None:
        """Takes the next entity, in the order of a walk."""
        if entity.is_message:
            self._messages.add(entity.path.rpartition(".")[0])
        elif not entity.is_signed and is_detached_signature(entity):
            self._signatures.add(entity.path)

    def is_beside(self, path: str) -> bool:
        """Whether the message that a part belongs to has a detached signature; after the walk."""
        message = self._message_of(path)
        return any(self._message_of(signature) == message for signature in self._signatures)

    def _message_of(self, path: str) -> str:
        """Section of the innermost message, forwarded or not, that a part belongs to."""
        while path := path.rpartition(".")[0]:
            if path in self._messages:
                return path
        return ""
