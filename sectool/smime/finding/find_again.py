"""Finds entities again by their paths, whatever they hold now, each with all its parts."""

from __future__ import annotations

from collections.abc import Sequence

from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.message import Content
from sectool.mime.entities import EntityWalker
from sectool.mime.header import header_of
from sectool.smime.parts import Place, WholeEntity


def places_of(content: Content, paths: Sequence[str]) -> list[WholeEntity]:
    """Where the entities with these paths lie, of several with one path the outermost.

    Args:
        content: a message or a plaintext.
        paths: in the order of the message; empty for the root.

    Raises:
        MalformedMessage: there is no such entity.
        LimitExceeded: the message has more parts or longer headers than is looked at.
    """
    header = header_of(content, is_message=True)
    line_end = header.line_end
    if [*paths] == [""]:
        # It has no parts that would have to be told from what is behind it.
        return [WholeEntity("", header, header.body_start, content.size, True, line_end)]
    with content.open() as stream:
        found = EntityWalker(stream, content.size).find(paths)
    if len(found) != len(paths):
        raise MalformedMessage("the message does not have the parts that it had")
    return [
        WholeEntity(
            path=path,
            header=found[path].header,
            body_start=found[path].header.body_start,
            body_end=found[path].end,
            is_last=found[path].end >= content.size,
            line_end=line_end,
            enclosing=found[path].enclosing,
            around=found[path].around,
            oddity=found[path].oddity,
        )
        for path in paths
    ]


def places_to_find_again(content: Content, parts: Sequence[Place]) -> list[WholeEntity]:
    """The places of encrypted parts, provided that their paths will lead to them again.

    Args:
        content: a message or a plaintext.
        parts: of its inventory, in order.

    Raises:
        UnsupportedMessage: a multipart around one has the same path.
        LimitExceeded: there are more parts or longer headers than is looked at.
    """
    places = places_of(content, [part.path for part in parts])
    for place, part in zip(places, parts, strict=True):
        if (place.header.start, place.body_end) != (part.header.start, part.body_end):
            raise UnsupportedMessage(f"the part {part.path} is not the only one of that number")
        if place.body_start != part.body_start:
            raise UnsupportedMessage("text stands before its base64 and would be lost")
    return places
