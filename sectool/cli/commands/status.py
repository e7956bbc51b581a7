"""``sectool status``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from sectool.cli import options
from sectool.cli.options.paths import path_argument

EXAMPLE = "Example: sectool status ~/move"

Directories = Annotated[
    list[Path],
    path_argument(metavar="DIR...", help="Job directory; of several, a line each and a total."),
]


def status(
    directories: Directories,
    *,
    trust_group: options.TrustGroup = None,
    manners: options.Manners,
) -> None:
    """Show where a job stands, what is left, what failed and why.

    And what of it lies in clear, and for how long.
    """
    from sectool import jobs
    from sectool.cli.words.many_jobs import see_each, show_many
    from sectool.cli.words.render import show

    look = functools.partial(jobs.status, trust=jobs.Trust.in_group(trust_group))
    if len(directories) > 1:
        show_many(see_each(directories, look), manners, looks_only=True)
    show(look(directories[0]), manners, looks_only=True)
