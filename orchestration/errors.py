"""Errors of work that was asked for rightly and failed, and how to find the reason under Ray's wrapping."""


class WorkFailedError(RuntimeError):
    """The work could not be finished; the message says why and what is left. Exit status 1."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and the work ended in good order. Exit status 143."""


def root_cause(error: BaseException) -> BaseException:
    """The error that a worker raised, out of what Ray wrapped around it."""
    seen = {id(error)}
    while True:
        failures = getattr(error, "worker_failures", None)
        inner = (
            next(iter(failures.values())) if failures else getattr(error, "cause", None) or error.__cause__
        )
        if not isinstance(inner, BaseException) or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner


def last_line(error: BaseException) -> str:
    """The last line of an error's text: Ray puts the worker's traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
