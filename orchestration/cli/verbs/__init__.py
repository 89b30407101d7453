"""One module a verb: NAME, HELP, `add_arguments(parser)` and `run(args) -> exit status`."""

from orchestration.cli.verbs import (
    animate,
    convert,
    demo,
    evaluate,
    export,
    fetch,
    inspect,
    prepare,
    run,
    train,
)

VERBS = (demo, run, fetch, prepare, inspect, train, evaluate, animate, export, convert)
