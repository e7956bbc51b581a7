"""The independent judge of the tests says what the openssl command says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import checker
from tests.support.checker import Key
from tests.support.mailboxes import encrypted, make_key

INNER = b"Content-Type: text/plain\r\n\r\nof the judge\r\n"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    directory = tmp_path_factory.mktemp("people")
    return make_key(directory, "old"), make_key(directory, "new")


def command(envelope: bytes, key: Key, directory: Path) -> bytes | None:
    """What ``openssl cms`` makes of an envelope."""
    source, target = directory / "in", directory / "out"
    source.write_bytes(envelope)
    done = subprocess.run(
        [
            *("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", source),
            *("-inkey", key.private_key, "-recip", key.certificate, "-out", target),
        ],
        capture_output=True,
        check=False,
    )
    return target.read_bytes() if done.returncode == 0 else None


@pytest.mark.parametrize("cipher", ["-aes256", "-des3", "-aes-128-gcm"])
def test_the_judge_opens_what_the_openssl_command_opens_and_nothing_else(
    people: tuple[Key, Key], cipher: str, tmp_path: Path
) -> None:
    key, other = people
    (envelope,) = checker.envelopes(encrypted(1, key, options=(cipher,), inner=INNER))
    garbled = envelope[:-1] + bytes((envelope[-1] ^ 0x80,))
    tried = {
        (text, whose): checker.opened(text, whose)
        for text in (envelope, garbled, envelope[:-9], b"", b"0\x80\x00\x00")
        for whose in (key, other)
    }
    assert tried[envelope, key] == INNER
    assert tried == {(text, whose): command(text, whose, tmp_path) for text, whose in tried}
