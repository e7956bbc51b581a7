"""The command line: parses, builds a specification, calls a job, renders the answer.

The only room that knows typer, tqdm and words for a person. Heavy imports
stand inside the functions that need them, so that ``--help`` is quick.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``sectool`` console script; ends the process with the contract's code."""
    from sectool.cli.shell import run_app

    raise SystemExit(run_app())
