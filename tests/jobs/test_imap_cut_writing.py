"""A run that writes to a real Dovecot is cut after any byte, in either way, and for good or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sectool import jobs
from sectool.errors import ServerUnavailable
from sectool.mailbox import retrying
from sectool.outcome import State
from tests.jobs.test_imap_cut import GOODBYE
from tests.jobs.test_imap_replacing import Place, ServedTrial, serving
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


@pytest.mark.parametrize("way", Way)
def test_a_run_that_is_cut_while_it_writes_leaves_no_second_copy_and_loses_nothing(
    way: Way, place: Place, proxy: Proxy, keys: Keys, whole: bool
) -> None:
    """Takes 0.5 s for each place; all bytes of one message are some 2,000 places, and of
    three every eleventh is tried. The normal run tries eight in each way."""
    cuts = Cuts(place, proxy)
    length = cuts.written()[way] - GOODBYE[way]
    after = place.meanings(keys.new)
    assert all("a" in str(flags) and "b" in str(flags) for _, flags, *_ in after)
    count = after.total()
    places = range(0, length, (1 if count == 1 else 11) if whole else length // 8)
    by_itself = 0
    for number, at in enumerate(places):
        fault = Fault(Act.CUT, way, at, behind=WRITES, seen=Way.TO_SERVER)
        for_good = [Fault(Act.CUT, connection=proxy.connections + n) for n in range(2, 60)]
        by_itself += cuts.run(fault, *(for_good if number % 2 else []))
        assert fault.met == 1, at
        where = f"cut behind byte {at} of {length}"
        assert jobs.run(cuts.spec).counts[State.REENCRYPTED] == count, where
        assert place.meanings(keys.new) == after, where
    assert 0 < by_itself < len(places)
    print(f"{way.value}, {count} messages: {len(places)} places, {by_itself} went on")  # noqa: T201
