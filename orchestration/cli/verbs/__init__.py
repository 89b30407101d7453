"""One module a verb: NAME, HELP, `add_arguments(parser)` and `run(args) -> exit status`."""

from orchestration.cli.verbs import (
    animate,
    annotate,
    compare,
    convert,
    demo,
    download,
    evaluate,
    export,
    fetch,
    inspect,
    manipulate,
    prepare,
    registry,
    run,
    sweep,
    train,
)

VERBS = (
    demo,
    run,
    fetch,
    download,
    annotate,
    prepare,
    inspect,
    train,
    evaluate,
    animate,
    manipulate,
    sweep,
    compare,
    registry,
    export,
    convert,
)
