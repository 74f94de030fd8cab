"""What the clients of the clouds raise, said with Python's own errors.

S3's client does so itself; those of Azure and Google have errors of their own for an object that is absent and for a
user who is refused, which would otherwise look like a store that might answer another time. They are told by name and
number, since the clients are optional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_REFUSED = {401, 403}
_NO_CREDENTIALS = ("Credentials", "Authentication", "Signing")


def plain(function: Callable[[], T]) -> T:
    """The function's value.

    Raises:
        FileNotFoundError: there is no such object, or no such bucket.
        PermissionError: the credentials are missing or not enough.
        Exception: as the function raised it.
    """
    try:
        return function()
    except (FileNotFoundError, FileExistsError, PermissionError):
        raise
    except Exception as error:
        name, text = type(error).__name__, first_line(error)
        number = getattr(error, "status_code", getattr(error, "code", None))
        if name == "ResourceNotFoundError" or number == 404:
            raise FileNotFoundError(text) from error
        # gcsfs has no better for 403 than an OSError with this word.
        forbidden = isinstance(error, OSError) and text.startswith("Forbidden")
        if forbidden or number in _REFUSED or any(word in name for word in _NO_CREDENTIALS):
            raise PermissionError(text) from error
        raise


def first_line(error: BaseException) -> str:
    """An error's text without the answer of the server that some clients append to it."""
    first, *rest = [*str(error).splitlines(), ""]
    # "Parameter validation failed:", and what is wrong on the next line.
    return f"{first} {rest[0]}" if first.endswith(":") else first or type(error).__name__
