"""Errors of work that was asked for rightly and failed: one or two lines, exit status 1."""


class WorkFailedError(RuntimeError):
    """The work could not be finished; the message says why and what is left."""
