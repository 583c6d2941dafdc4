"""The error for problems that the user can fix."""


class StageError(Exception):
    """A problem that the user can fix; the message says what and how, and is printed without a traceback."""


def user_message(error: BaseException | None) -> str | None:
    """The message of an error that the user can fix, anywhere in the chain of causes; None for other errors."""
    while error is not None:
        if isinstance(error, StageError):
            return str(error)
        if "No space left on device" in str(error):  # libraries raise their own errors for it
            return f"{error}. Make room and run the same command again"
        error = error.__cause__ or error.__context__
    return None
