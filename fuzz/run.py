"""Runs a target under atheris: ``python -m fuzz.run TARGET [LIBFUZZER OPTION]... CORPUS``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sectool"]):
    from fuzz.targets import TARGETS, within_bounds


def main() -> None:
    """Fuzzes until it is stopped or finds something."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: within_bounds(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
