"""One module a verb: NAME, HELP, `add_arguments(parser)` and `run(args) -> exit status`."""

from orchestration.cli.verbs import animate, annotate, convert, demo, evaluate, fetch, prepare, run, train

VERBS = (demo, run, fetch, annotate, prepare, train, evaluate, animate, convert)
