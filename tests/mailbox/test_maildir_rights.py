"""Whether a Maildir can be written is asked of the rights that the process really has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rights

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "65534"

ASK = """
import sys
from sectool.mailbox import open_mailbox, recognise
print(open_mailbox(recognise(sys.argv[1])).capabilities.writable)
"""


@pytest.fixture
def stranger(maildir_of_another: Path) -> list[str]:
    """The command that asks as an account which owns nothing here, up to its capabilities."""
    return [
        *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
        *("--inh-caps", "{}", "--ambient-caps", "{}"),
        *(sys.executable, "-c", ASK, str(maildir_of_another)),
    ]


@pytest.fixture
def maildir_of_another(tmp_path: Path) -> Path:
    root = tmp_path / "Maildir"
    for part in (root, *(root / name for name in ("cur", "new", "tmp"))):
        part.mkdir(mode=0o700)
        os.chown(part, 12345, 12345)
    return root


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="giving rights away needs root"
)
@pytest.mark.parametrize(
    ("capabilities", "writable"),
    [("+dac_read_search", "False"), ("+dac_override,+chown,+fowner", "True")],
)
def test_a_capability_to_write_counts_as_a_right_to_write(
    capabilities: str, writable: str, stranger: list[str]
) -> None:
    command = [word.format(capabilities) for word in stranger]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (writable, "")
