"""Tells by whose keys an encrypted part opens, where several people read one mailbox.

A recipient's name in an envelope proves nothing: whoever stole a ciphertext can write
their own beside it. So each person's keys are tried alone, and must give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from sectool import smime
from sectool.errors import MessageError
from sectool.joblog import NOT_EVERYBODYS
from sectool.jobs.work.addresses import address_digests
from sectool.jobs.work.open_with import open_part
from sectool.jobs.work.search_layers import LayerSearch
from sectool.keys import KeyHistory, people_of
from sectool.message import InnerEntity
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Reader:
    """One of the people who read a mailbox."""

    addresses: frozenset[str]
    """Digests of their addresses, as the job knows them."""
    keys: KeyHistory
    """Theirs alone."""


def readers_of(keys: KeyHistory, job: str) -> tuple[Reader, ...]:
    """Everybody whose keys a history holds.

    Args:
        keys: of all of them.
        job: unique name of the job.
    """
    return tuple(
        Reader(address_digests(job, person.addresses), keys.of_keys(person.keys))
        for person in people_of(keys)
    )


def find_readers(
    readers: Sequence[Reader],
    taken: Sequence[tuple[smime.EncryptedPart, InnerEntity]],
    search: LayerSearch,
) -> frozenset[tuple[str, str]]:
    """Content digests of parts and layers with the addresses of those whose keys open them.

    A layer that not everybody opens who opens what is around it keeps its recipients.

    Args:
        readers: who may be one of them.
        taken: the parts that are taken, with their plaintexts.
        search: has found the layers inside.
    """
    found: dict[str, frozenset[str]] = {}
    around: dict[tuple[str, str], frozenset[str]] = {}
    for part, inner in taken:
        around[part.path, ""] = _addresses(readers, part, inner)
        found[part.envelope.digest] = around[part.path, ""]
    # What lies deeper comes later.
    for layer in search.opened:
        addresses = _addresses(readers, layer.part, layer.inner)
        section, path = layer.place
        around[layer.place] = addresses
        outer = around.get((section, path.rpartition("!")[0]), frozenset())
        if not outer <= addresses:
            search.keeps(layer, NOT_EVERYBODYS)
        found.setdefault(layer.content_digest, addresses)
    return frozenset((digest, one) for digest, addresses in found.items() for one in addresses)


def _addresses(
    readers: Sequence[Reader], part: smime.EncryptedPart, inner: InnerEntity
) -> frozenset[str]:
    return frozenset(
        address
        for reader in readers
        if _opens(reader.keys, part, inner)
        for address in reader.addresses
    )


def _opens(keys: KeyHistory, part: smime.EncryptedPart, inner: InnerEntity) -> bool:
    try:
        return open_part(part, keys).sha256 == inner.sha256
    except MessageError:
        return False
