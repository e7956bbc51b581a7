"""A run that writes to a real Dovecot is cut after any byte, in either way, and for good or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from sectool import jobs
from sectool.errors import ServerUnavailable
from sectool.mailbox import retrying
from sectool.outcome import State
from tests.jobs.test_imap_cut import GOODBYE
from tests.jobs.test_imap_replacing import Place, ServedTrial, serving
from tests.jobs.test_stores import Meanings
from tests.support.imap_world import ON_LOOPBACK
from tests.support.mailboxes import Keys, Mail
from tests.support.proxy import Act, Fault, Proxy, Way
from tests.support.specifications import Specify

WRITES = rb"APPEND "
"""Begins what is cut."""


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.all_only)])
def place(request: pytest.FixtureRequest, sample: list[Mail], specify: Specify) -> Iterator[Place]:
    """With one message, or with some of which the last two come by one command."""
    with serving([sample[3], *sample[:2]][: request.param], specify) as place:
        client = place.server.connect()
        client.select("INBOX")
        client.uid("STORE", "1:*", "+FLAGS", "($Forwarded Work)")
        client.logout()
        yield place
        assert place.server.complaints() == []


@pytest.fixture
def proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(retrying, "WAITS", (0.0,) * 3)
    with Proxy(place.server.port).running() as running:
        yield running


class Cuts:
    """One run after another, from the same beginning, through the proxy."""

    def __init__(self, place: Place, proxy: Proxy) -> None:
        jobs.run(place.run_of("decrypt"))
        self.place, self.proxy = place, proxy
        self.trial = ServedTrial(place, whole=True)
        self.spec = place.run_of("encrypt")
        url = f"imap://alice@127.0.0.1:{proxy.port}/"
        account = replace(ON_LOOPBACK, connections=1)
        self.cut_spec = replace(self.spec, mailbox=url, account=account)

    def run(self, *faults: Fault) -> bool:
        """From the beginning; whether it came to an end by itself."""
        self.trial.put_back()
        self.proxy.faults[:] = faults
        try:
            jobs.run(self.cut_spec)
        except ServerUnavailable:
            return False
        finally:
            self.proxy.faults.clear()
        return True

    def written(self) -> dict[Way, int]:
        """Bytes from the first that is cut on, of a run that is not."""
        before: dict[Way, int] = {}

        def note() -> None:
            before.update(self.proxy.passed)

        passed = dict(self.proxy.passed)
        assert self.run(*(Fault(note, way, behind=WRITES, seen=Way.TO_SERVER) for way in Way))
        assert before != passed
        return {way: self.proxy.passed[way] - before[way] for way in Way}


def hold_after(
    cuts: Cuts, keys: Keys, after: Meanings, places: Sequence[Fault], *, at_once: bool
) -> None:
    """Cuts at each place, every other time for good, and lets the next run go on.

    Args:
        cuts: makes the runs.
        keys: of the owner.
        after: what there is to be in the end.
        places: of the cuts.
        at_once: what a run left that came to its end is that, before the next one.
    """
    by_itself = 0
    for number, fault in enumerate(places):
        first = cuts.proxy.connections + 2
        for_good = [Fault(Act.CUT, connection=first + further) for further in range(50)]
        has_ended = cuts.run(fault, *(for_good if number % 2 else []))
        by_itself += has_ended
        assert fault.met == 1, fault
        if has_ended and at_once:
            assert cuts.place.meanings(keys.new) == after, fault
        assert jobs.run(cuts.spec).counts[State.REENCRYPTED] == after.total(), fault
        assert cuts.place.meanings(keys.new) == after, fault
    assert 0 < by_itself < len(places)


def places_in(command: bytes, way: Way, after: int) -> list[Fault]:
    """The same place twice: to go on from, and to end at."""
    return [Fault(Act.CUT, way, after, behind=command, seen=Way.TO_SERVER) for _ in range(2)]


LITERAL = WRITES + rb"[^\r\n]*\{\d+\}\r\n"
SAMPLE = [
    *places_in(WRITES, Way.TO_SERVER, 3),
    *places_in(LITERAL, Way.TO_SERVER, 0),
    *places_in(LITERAL, Way.TO_SERVER, 700),
    *(Fault(Act.CUT, behind=rb"OK \[APPENDU") for _ in range(2)),
    *places_in(rb"UID STORE ", Way.TO_SERVER, 4),
    *places_in(rb"UID STORE [^\r\n]*\r\n", Way.TO_CLIENT, 3),
    *places_in(rb"UID EXPUNGE ", Way.TO_SERVER, 4),
    *places_in(rb"UID EXPUNGE [^\r\n]*\r\n", Way.TO_CLIENT, 3),
]


def test_a_run_that_is_cut_in_the_middle_of_a_command_leaves_no_second_copy(
    place: Place, proxy: Proxy, keys: Keys
) -> None:
    cuts = Cuts(place, proxy)
    cuts.written()
    after = place.meanings(keys.new)
    assert all("a" in str(flags) and "b" in str(flags) for _, flags, *_ in after)
    hold_after(cuts, keys, after, SAMPLE, at_once=True)


@pytest.mark.all_only
@pytest.mark.parametrize("way", Way)
def test_a_run_that_is_cut_after_any_byte_leaves_no_second_copy_and_loses_nothing(
    way: Way, place: Place, proxy: Proxy, keys: Keys
) -> None:
    """Takes 0.5 s for each byte of one message, some 5,000, and for every eleventh of three."""
    cuts = Cuts(place, proxy)
    length = cuts.written()[way] - GOODBYE[way]
    after = place.meanings(keys.new)
    step = 1 if after.total() == 1 else 11
    places = [
        Fault(Act.CUT, way, at, behind=WRITES, seen=Way.TO_SERVER) for at in range(0, length, step)
    ]
    # A server may have read all of a command by then, and carry it out later than it is looked for.
    hold_after(cuts, keys, after, places, at_once=False)
    print(f"{way.value}, {after.total()} messages: {len(places)} places")  # noqa: T201
