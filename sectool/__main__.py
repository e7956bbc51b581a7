"""Lets ``python -m sectool`` do what the ``sectool`` console script does."""

from sectool.cli import main

if __name__ == "__main__":
    main()
