"""The error that users can mend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class StageError(Exception):
    """Something the user can mend; its message says what and how, and is printed without a traceback."""
