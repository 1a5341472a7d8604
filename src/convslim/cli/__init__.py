"""The command line: `convslim demo`, `run`, `inspect`, `prune`, `compress`, `export`, `recipes`."""

from convslim.cli.app import app

__all__ = ["app"]
