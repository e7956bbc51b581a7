"""Envelopes of every form open to their content, and damaged ones fail as their damage asks for.

The numbers B.. are those of the list of bad inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from sectool import cms
from sectool.errors import DecryptionFailed, MalformedMessage, MessageError
from sectool.message import BytesContent
from tests.bad_inputs.algorithms import ALGORITHMS
from tests.bad_inputs.people import Forger, make_forger
from tests.bad_inputs.structure import STRUCTURE
from tests.bad_inputs.vector import OPENS, Envelope
from tests.support.effort import effort

OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Open = Callable[[bytes], bytes]

VECTORS = [
    pytest.param(vector, id=f"{vector.number} {vector.name}")
    for vector in (*STRUCTURE, *ALGORITHMS)
]
NAMED = {vector.name: vector for vector in (*STRUCTURE, *ALGORITHMS)}


@pytest.fixture(scope="module")
def forger() -> Forger:
    return make_forger()


@pytest.fixture(scope="module")
def open_as_bob(forger: Forger, open_bytes: OpenBytes) -> Open:
    keys = forger.keys()
    return lambda raw: open_bytes(raw, keys)[1]


def test_every_vector_has_a_name_of_its_own() -> None:
    assert len(NAMED) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS)
def test_an_envelope_opens_to_its_content_or_fails_as_its_kind(
    vector: Envelope, forger: Forger, open_as_bob: Open
) -> None:
    raw = vector.make(forger)
    opened: list[bytes] = []
    failed: list[MessageError] = []

    def open_it() -> None:
        try:
            opened.append(open_as_bob(raw))
        except MessageError as caught:
            failed.append(caught)

    assert effort(open_it) < vector.effort
    error = failed[0] if failed else None
    if vector.fails is OPENS:
        assert error is None
        assert vector.content in {None, *opened}
    else:
        assert type(error) is vector.fails
    if isinstance(error, DecryptionFailed):
        assert str(error) == DecryptionFailed.TEXT


@pytest.mark.parametrize("name", ["bob.env.aes-256-cbc", "bob.authenv.aes-256-gcm"])
def test_an_envelope_cut_at_any_byte_is_malformed(
    name: str, forger: Forger, open_as_bob: Open
) -> None:
    raw = NAMED[name].make(forger)
    for length in range(len(raw)):
        with pytest.raises(MalformedMessage):
            open_as_bob(raw[:length])


@settings(max_examples=300, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)
)
@pytest.mark.parametrize(
    "name", ["bob.env.aes-256-cbc", "bob.authenv.aes-256-gcm", "bob.env.nested-segments"]
)
def test_altered_bytes_raise_only_errors_of_ours(
    name: str, flips: list[tuple[int, int]], forger: Forger, open_as_bob: Open
) -> None:
    raw = bytearray(NAMED[name].make(forger))
    for position, octet in flips:
        raw[position % len(raw)] = octet
    with suppress(MessageError):
        open_as_bob(bytes(raw))


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_errors_of_ours(raw: bytes) -> None:
    for reading in (
        lambda: cms.describe_envelope(BytesContent(raw)),
        lambda: cms.identify(raw),
    ):
        with suppress(MalformedMessage):
            reading()
