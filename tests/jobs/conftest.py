"""Small real mailboxes, the keys of their owner, and specifications of runs on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import pytest

from sectool.joblog import JobLog
from sectool.keys import KeySpecification
from tests.support.checker import Key
from tests.support.mailboxes import (
    CLEAR,
    Keys,
    Mail,
    encrypted,
    fill,
    key_named_alike,
    make_key,
)
from tests.support.specifications import Fields, Place, Specify, fitting, specification


@pytest.fixture(autouse=True)
def _what_the_engine_wrote_has_its_form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each job log that a test leaves can be opened, but where the test damaged it itself.

    Every value is held to a form when a log is opened, so that a value of another form that
    the engine wrote would end each later command of an honest job.
    """
    place = None
    if "tmp_path" in request.fixturenames and not request.node.get_closest_marker("damages_logs"):
        place = request.getfixturevalue("tmp_path")
    yield
    for path in place.rglob("job.db") if place is not None else ():
        if path.stat().st_size:
            JobLog.open(path).close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    directory = tmp_path_factory.mktemp("keys")
    history = directory / "history"
    history.mkdir()
    old = make_key(history, "old", bits=1024)
    new, stranger, transport = (make_key(directory, n) for n in ("new", "stranger", "transport"))
    return Keys(old, new, stranger, history, transport)


@pytest.fixture(scope="session")
def alike(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    """The right key of some mail, and a wrong one under its name."""
    directory = tmp_path_factory.mktemp("alike")
    return key_named_alike(directory, "right"), key_named_alike(directory, "wrong")


@pytest.fixture(scope="session")
def sample(keys: Keys) -> list[Mail]:
    """Mail of every kind that the engine treats differently."""
    to_oneself = encrypted(4, keys.old)
    return [
        Mail("", "cur/1300000001.M1P1.host,S=900:2,S", encrypted(1, keys.old)),
        Mail("", "cur/1300000002.M2P1.host:2,", encrypted(2, keys.old, options=("-des3",))),
        Mail("", "new/1300000003.M3P1.host", encrypted(3, keys.old, options=("-aes-128-gcm",))),
        Mail("", "cur/1300000004.M4P1.host:2,FS", to_oneself),
        Mail(".Sent", "cur/1300000005.M5P1.host:2,S", b"X-Copy: mine\n" + to_oneself),
        Mail("", "cur/1300000006.M6P1.host:2,RS", CLEAR),
        Mail(".Sent", "cur/1300000007.M7P1.host:2,", encrypted(7, keys.stranger)),
        Mail("", "cur/1300000008.M8P1.host:2,", encrypted(8, keys.old)[:520]),
    ]


@pytest.fixture
def maildir(sample: list[Mail], tmp_path: Path) -> Path:
    """The sample, where it is before the move."""
    directory = tmp_path / "Maildir"
    fill(directory, sample)
    return directory


@pytest.fixture
def specify(keys: Keys, tmp_path: Path) -> Specify:
    """Makes a specification of a run without worker processes on a job beside the mailbox."""

    def make(operation: str, mailbox: Place, /, **changes: Unpack[Fields]) -> Any:
        usual: Fields = {
            "job": tmp_path / "job",
            "keys": KeySpecification((keys.history,)),
            "new_certificates": (keys.new.certificate,),
            "workers": 0,
        }
        return specification(operation, mailbox, **fitting(operation, usual, changes))

    return make
