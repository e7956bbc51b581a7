"""The keys and the mail of the engine's tests."""

from tests.jobs.conftest import keys, sample, specify

__all__ = ["keys", "sample", "specify"]
