"""What a run on a job is doing, or how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sectool.summary import Activity


def as_json(activity: Activity) -> dict[str, Any]:
    """A member of the document of ``status`` and of ``status.json``."""
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in asdict(activity).items()
    }


def as_table(activity: Activity) -> Iterable[str]:
    """The same in a line for a person."""
    if activity.ended is not None:
        code = activity.exit_code
        yield f"last run  {activity.operation}, ended {_time(activity.ended)} with exit code {code}"
        return
    done = f"{activity.done}{'' if activity.total is None else f' of {activity.total}'}"
    where = f"{activity.stage} {done}" if activity.stage else "beginning"
    if activity.is_on:
        yield f"running   {activity.operation}: {where}"
        yield f"          process {activity.pid}, since {_time(activity.started)}"
    else:
        yield f"stopped   {activity.operation}: {where} at {_time(activity.updated)}, not ended"
        yield "          the process is gone: the same command goes on where it stopped"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
