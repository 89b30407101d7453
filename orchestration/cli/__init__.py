"""The `lia` command line. Each verb is a module of `orchestration.cli.verbs`; heavy imports wait until it runs."""

from orchestration.cli.main import main

__all__ = ["main"]
