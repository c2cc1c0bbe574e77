"""Refusals of the server in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging

from experts.errors import DuetError, InputError


class ApiError(Exception):
    """An answer other than 200; `message` is safe to show."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refuse(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The caller's value is wrong."""
    return ApiError(400, message, param=param, code=code)


def as_api_error(error: BaseException) -> ApiError:
    """What a caller is told about `error`: our own messages, and of anybody else's only the type."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InputError):
        return refuse(str(error))
    if isinstance(error, DuetError):
        return ApiError(500, str(error), kind="server_error")
    logging.getLogger("duet").error("a request failed inside", exc_info=error)
    return ApiError(500, f"the server failed inside ({type(error).__name__}); its log says more", kind="server_error")
