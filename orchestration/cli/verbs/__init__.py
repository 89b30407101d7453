"""One module a verb: NAME, HELP, `add_arguments(parser)` and `run(args) -> exit status`."""

from orchestration.cli.verbs import animate, convert, demo, download, evaluate, fetch, prepare, run, train

VERBS = (demo, run, fetch, download, prepare, train, evaluate, animate, convert)
