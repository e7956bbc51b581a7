"""Root works on a tree of .eml files whose owner exchanges what lies in it meanwhile."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sectool.errors import SectoolError
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from tests.mailbox.test_maildir_attacks import (
    ATTACKER,
    DATE,
    MAIL,
    NEW,
    SECRET,
    VICTIM,
    Scene,
    at_point,
    limited,
    swap,
    work,
)

pytestmark = [
    pytest.mark.rights,
    pytest.mark.skipif(os.geteuid() != 0, reason="another user's mailbox needs root"),
]

NAMES = ("a.eml", "Work/a.eml", "Work/Old/a.eml")


class EmlScene(Scene):
    """A tree of the attacker's beside another user's."""

    def __init__(self, place: Path) -> None:
        self.root, self.other = place / "mail", place / "other"
        place.mkdir(exist_ok=True)
        for root, mail, owner in ((self.root, MAIL, ATTACKER), (self.other, SECRET, VICTIM)):
            for name in NAMES:
                (root / name).parent.mkdir(parents=True, mode=0o700, exist_ok=True)
                (root / name).write_bytes(mail)
            for path in (root, *root.rglob("*")):
                os.chown(path, owner, owner)
                os.utime(path, (DATE.timestamp(), DATE.timestamp()))
        os.chown(place, ATTACKER, ATTACKER)
        self.before = self.others_state()


def instead_of(scene: EmlScene, pattern: str, act: Callable[[Path], object]) -> None:
    for path in scene.root.rglob(pattern):
        if path.is_file():
            path.unlink()
            act(path)


EXCHANGES: dict[str, Callable[[EmlScene], object]] = {
    "a folder": lambda scene: swap(scene.root / "Work", scene.other / "Work"),
    "a folder in it": lambda scene: swap(scene.root / "Work/Old", scene.other / "Work/Old"),
    "the mailbox": lambda scene: swap(scene.root, scene.other),
    "what waits: links": lambda scene: instead_of(
        scene, ".*", lambda path: path.symlink_to(scene.other / "a.eml")
    ),
    "what waits: second names": lambda scene: instead_of(
        scene, ".*", lambda path: path.hardlink_to(scene.other / "a.eml")
    ),
    "what waits: FIFOs": lambda scene: instead_of(scene, ".*", os.mkfifo),
    "messages: links": lambda scene: instead_of(
        scene, "a.eml", lambda path: path.symlink_to(scene.other / "a.eml")
    ),
    "messages: second names": lambda scene: instead_of(
        scene, "a.eml", lambda path: path.hardlink_to(scene.other / "a.eml")
    ),
    "messages: FIFOs": lambda scene: instead_of(scene, "a.eml", os.mkfifo),
    "the folder that is made": lambda scene: (scene.root / "Recovered").symlink_to(scene.other),
}


def open_again(root: Path) -> Mailbox:
    return open_mailbox(MailboxSpecification("eml", str(root)))


def test_without_an_attack_all_is_replaced_for_its_owner(tmp_path: Path) -> None:
    scene = EmlScene(tmp_path)
    assert work(open_again(scene.root)) == len(NAMES)
    mail = [path for path in scene.root.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in mail] == [NEW] * (len(NAMES) + 1)
    assert {path.stat().st_uid for path in scene.root.rglob("*")} == {ATTACKER}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_no_exchange_at_any_point_reaches_what_is_anothers(
    tmp_path: Path, exchange: str, whole: bool
) -> None:
    step = 1 if whole else 47
    for number in itertools.count(len(exchange) % step, step):
        place = tmp_path / str(number)
        scene = EmlScene(place)
        mailbox = open_again(scene.root)
        act = EXCHANGES[exchange]
        with limited(20), at_point(number, lambda: act(scene)) as passed, suppress(SectoolError):  # noqa: B023
            work(mailbox)
        scene.check()
        with limited(20), suppress(SectoolError):
            work(open_again(scene.root))
        scene.check()
        shutil.rmtree(place)
        if len(passed) <= number:
            break
    assert number > 40
