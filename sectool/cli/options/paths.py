"""Arguments and options that are paths, and what a shell completes of the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import typer

# Whether a path can be read is told by who opens it: asked beforehand the system answers for the
# real user, without the capabilities that count when it is opened.
path_option = partial(typer.Option, readable=False)
path_argument = partial(typer.Argument, readable=False)


def one_of(*words: str) -> Callable[[str], list[str]]:
    """Completes one of these words; paths are completed by the shell itself."""

    def begun(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return begun
