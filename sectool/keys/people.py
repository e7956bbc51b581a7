"""Whose keys a history holds, as far as its certificates say (RFC 8550 section 3).

Certificates of one key are one person's, and so are those that have an address in
common; keys without any address are nobody's in particular.
"""

from __future__ import annotations

from collections.abc import Iterable

from sectool import cms
from sectool.keys.history import HeldKey, KeyHistory
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose keys are held."""

    addresses: tuple[str, ...]
    """As the certificates write them, each once."""
    keys: tuple[HeldKey, ...]


def people_of(history: KeyHistory) -> tuple[Person, ...]:
    """Everybody whom a certificate of a key names by an address, in the order of the keys."""
    people: list[tuple[dict[str, str], list[HeldKey]]] = []
    for key in history.keys:
        names = {cms.comparable_address(one): one for one in addresses_of(key)}
        if not names:
            continue
        same = [person for person in people if not names.keys().isdisjoint(person[0])]
        keys = [key]
        for other in reversed(same):
            people.remove(other)
            names, keys = other[0] | names, other[1] + keys
        people.append((names, keys))
    return tuple(Person(tuple(names.values()), tuple(keys)) for names, keys in people)


def addresses_of(key: HeldKey) -> tuple[str, ...]:
    """The addresses that the certificates of a key name, each once."""
    found = [
        address
        for certificate in key.certificates
        if certificate.parsed is not None
        for address in cms.certificate_addresses(certificate.parsed)
    ]
    return tuple(dict.fromkeys(found))


def keys_of(history: KeyHistory, owners: Iterable[str]) -> KeyHistory:
    """The keys of one person, and those that are nobody's in particular.

    Where the history names several people, a key without any certificate may be any
    one's of them, so that it is left out.

    Args:
        history: of perhaps several people.
        owners: addresses of the one person, however written.
    """
    wanted = {cms.comparable_address(one) for one in owners}
    people = people_of(history)
    is_one_person = all(
        any(cms.comparable_address(one) in wanted for one in person.addresses) for person in people
    )

    def is_kept(key: HeldKey) -> bool:
        names = {cms.comparable_address(one) for one in addresses_of(key)}
        if names:
            return not names.isdisjoint(wanted)
        return is_one_person or bool(key.certificates)

    return history.with_keys(filter(is_kept, history.keys))
