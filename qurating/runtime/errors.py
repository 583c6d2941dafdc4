"""The error for problems that the user can fix."""


class StageError(Exception):
    """A problem that the user can fix; the message says what and how, and is printed without a traceback."""
