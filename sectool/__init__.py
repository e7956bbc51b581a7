"""sectool moves encrypted mail from one set of keys to another without losing a message."""

__version__ = "0.1.0"
