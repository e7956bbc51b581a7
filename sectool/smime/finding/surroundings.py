"""Recognises the one harmless wrapper around an encrypted part: a mailing list's footer.

A list that adds a text to every mail makes a multipart/mixed of an encrypted
one. Attackers build wrappers, too, so that little passes: the message says that
it comes from a list, and its parts are the CMS and one short plain text before
or after it, or both. HTML is never among them.
"""

from __future__ import annotations

from dataclasses import field

from sectool.mime.content_type import parse_disposition
from sectool.mime.entities import Entity
from sectool.smime.finding.recognition import PKCS7_MIME, is_detached_signature
from sectool.values import dataclass

TEXT_SIZE = 16 * 1024
"""Bytes of a header or footer, encoded; those of real lists have some hundred."""
_MOST_PARTS = 3
_LIST_FIELDS = frozenset({b"list-id", b"list-post"})
"""RFC 2919 and RFC 2369."""


@dataclass(slots=True)
class _Wrapper:
    message: Entity
    """The multipart that is the whole body of a message."""
    parts: list[Entity] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        return f"{self.message.path.rpartition('.')[0]}." if self.message.path else ""


class ListFooters:
    """Watches the entities of one message go by."""

    def __init__(self) -> None:
        self._open: list[_Wrapper] = []
        self._recognised: set[str] = set()

    def add(self, entity: Entity) -> None:
        """Takes the next entity, in the order of a walk."""
        still_open: list[_Wrapper] = []
        for wrapper in self._open:
            if not entity.path.startswith(wrapper.prefix):
                self._judge(wrapper)
            elif len(wrapper.parts) < _MOST_PARTS:
                wrapper.parts.append(entity)
                still_open.append(wrapper)
        if _may_wrap(entity):
            still_open.append(_Wrapper(entity))
        self._open = still_open

    def recognised(self) -> frozenset[str]:
        """Paths of the parts that stand in such a wrapper and are labelled as S/MIME."""
        for wrapper in self._open:
            self._judge(wrapper)
        self._open.clear()
        return frozenset(self._recognised)

    def _judge(self, wrapper: _Wrapper) -> None:
        if _is_list_footer(wrapper):
            cms = (part.path for part in wrapper.parts if part.media_type in PKCS7_MIME)
            self._recognised.update(cms)


def _may_wrap(entity: Entity) -> bool:
    return (
        entity.is_multipart
        and entity.is_message
        and not entity.is_signed
        and entity.media_type == "multipart/mixed"
        and any(field.name in _LIST_FIELDS for field in entity.header.fields)
    )


def _is_list_footer(wrapper: _Wrapper) -> bool:
    parts = wrapper.parts
    if not 2 <= len(parts) <= _MOST_PARTS:
        return False
    # Anything that was descended into, or lies deeper, has another path.
    if [part.path for part in parts] != [f"{wrapper.prefix}{n}" for n in range(1, len(parts) + 1)]:
        return False
    is_cms = [part.media_type in PKCS7_MIME for part in parts]
    if is_cms.count(True) != 1 or any(part.is_multipart for part in parts):
        return False
    # Of three parts the CMS is the middle one.
    if len(parts) == _MOST_PARTS and not is_cms[1]:
        return False
    return all(cms or _is_short_text(part) for part, cms in zip(parts, is_cms, strict=True))


def _is_short_text(part: Entity) -> bool:
    if part.content_type is not None and part.media_type != "text/plain":
        return False
    if part.content_type is None and part.header.first(b"content-type") is not None:
        return False
    disposition = part.header.first(b"content-disposition")
    if disposition is not None and parse_disposition(disposition).value != "inline":
        return False
    names = {one.name for one in part.header.fields} - {b"mime-version"}
    if any(not name.startswith(b"content-") for name in names):
        return False
    return part.body_end - part.header.body_start <= TEXT_SIZE


# --- detached signatures --------------------------------------------------------------------------
# Those that stand among the parts of a message without a multipart/signed may be over an
# encrypted part beside them, which must then stay as it is.


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
