"""Translate the errors of cloud clients into Python's built-in errors.

The S3 client does this itself. The clients of Azure and Google have their own errors for a missing object and for a
refused user; without translation these errors would be retried. They are identified by class name and status code,
because the clients are optional dependencies.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_REFUSED = {401, 403}
_NO_NAME = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL}
_PROXY_REFUSES = 407
# What the S3 client makes of 301: the bucket is in another region.
ELSEWHERE = getattr(errno, "EREMCHG", 78)
_NO_CREDENTIALS = ("Credentials", "Authentication", "Signing")


def plain(function: Callable[[], T]) -> T:
    """Call the function and return its value.

    Raises:
        FileNotFoundError: the object or the bucket does not exist.
        PermissionError: the credentials are missing or insufficient.
        Exception: any other error of the function, unchanged.
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
        # For 403, gcsfs raises only an OSError whose text begins with this word.
        forbidden = isinstance(error, OSError) and text.startswith("Forbidden")
        if forbidden or number in _REFUSED or any(word in name for word in _NO_CREDENTIALS):
            raise PermissionError(text) from error
        raise


def unreachable(error: BaseException) -> bool:
    """Whether a name does not exist or a proxy refuses: no later try of this process will get through."""
    found: BaseException | None = error
    while found is not None:
        # botocore and aiohttp wrap the resolver's error. A resolver that does not answer (EAI_AGAIN) may do so later.
        if isinstance(found, socket.gaierror) and found.errno in _NO_NAME:
            return True
        if "Proxy" in type(found).__name__ and getattr(found, "status", _PROXY_REFUSES) == _PROXY_REFUSES:
            return True
        found = found.__cause__ or found.__context__
    return False


def remedy(error: BaseException) -> str:
    """What to do about an error of a client, to append to its text; empty if its text is enough."""
    if unreachable(error):
        return "; check the name of the endpoint or bucket, and the proxy (HTTPS_PROXY, NO_PROXY)"
    if isinstance(error, OSError) and error.errno == ELSEWHERE:
        return "; the bucket is in another region: set AWS_DEFAULT_REGION"
    return ""


def first_line(error: BaseException) -> str:
    """First line of an error's text; some clients append the whole server response."""
    first, *rest = [*str(error).splitlines(), ""]
    # For example "Parameter validation failed:", with the reason on the next line.
    return f"{first} {rest[0]}" if first.endswith(":") else first or type(error).__name__
