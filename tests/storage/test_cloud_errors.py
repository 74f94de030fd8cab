"""The errors of clients that need no server to be raised; those of the emulators are in test_emulators."""

from __future__ import annotations

import pytest

from lanewise.storage import cloud_errors


def _error(name: str, text: str, **fields: int) -> Exception:
    error: Exception = type(name, (Exception,), {})(text)
    for field, value in fields.items():
        setattr(error, field, value)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_error("ResourceNotFoundError", "no such container\nRequestId: 1", status_code=404), FileNotFoundError),
        (_error("HttpResponseError", "who are you\nRequestId: 1", status_code=403), PermissionError),
        (_error("HttpError", "Invalid Credentials, 401", code=401), PermissionError),
        (_error("NoCredentialsError", "Unable to locate credentials"), PermissionError),
        (_error("AzureSigningError", "Invalid base64-encoded string"), PermissionError),
        (OSError("Forbidden: bucket/o\n<html>"), PermissionError),
    ],
)
def test_an_answer_that_will_not_change_is_said_in_one_line(error: Exception, kind: type[Exception]) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(kind) as caught:
        cloud_errors.plain(ask)
    assert str(caught.value) == str(error).splitlines()[0]


def test_a_first_line_that_only_announces_is_followed_by_the_second() -> None:
    text = 'Parameter validation failed:\nInvalid bucket name "B!": must match\nmore'
    told = 'Parameter validation failed: Invalid bucket name "B!": must match'
    assert cloud_errors.first_line(_error("ParamValidationError", text)) == told
    assert cloud_errors.first_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    "error", [FileExistsError("x"), OSError("reset by peer"), _error("HttpError", "slow down", code=429)]
)
def test_any_other_is_left_as_it_is(error: Exception) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        cloud_errors.plain(ask)
    assert caught.value is error
