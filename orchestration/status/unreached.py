"""What could not be seen, why, and what would make it visible."""


class Unreached(Exception):
    """A source of the status that did not answer."""

    def __init__(self, what: str, why: str, remedy: str = "") -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.remedy = what, why, remedy
