"""Errors a user can mend: each message names the file, the value and the remedy in one or two lines."""


class InputError(ValueError):
    """Something the user handed in is unusable. The command line prints it and exits with status 2."""


class MetadataError(InputError):
    """A metadata file or clip table is malformed; names the file and, where there is one, the line."""


class VideoError(InputError):
    """A video or image cannot be used. `reason` is one of the reasons that failure records use."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TooManyFailuresError(Exception):
    """So many clips failed that the dataset is not to be used. The command line exits with status 1."""


class DatasetError(InputError):
    """A dataset folder is absent, incomplete, or belongs to another clip table or configuration."""


class StorageError(OSError):
    """A disk or server failed in the middle of work that was asked for rightly. Exit status 1.

    The message alone says what happened: there is no errno.
    """


class TransientError(StorageError):
    """A server failed in a way that may have passed when it is asked again."""
