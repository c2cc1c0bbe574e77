"""What a person is told when something fails: one line and the id of the request, never a traceback or a path."""

from __future__ import annotations

import html
import logging
import secrets
import sqlite3
from typing import Any

from experts.errors import DuetError
from ui.app import words


def message_for(error: BaseException, language: str = "en") -> str:
    """One line about `error` with a request id, under which the log has the rest."""
    request = secrets.token_hex(4)
    log = logging.getLogger("duet")
    if isinstance(error, DuetError):
        line = str(error)
        log.info("request %s: %s: %s", request, type(error).__name__, line)
    else:
        line = words.say(language, "fault", reason(error))
        log.error("request %s failed", request, exc_info=error)
    line = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return f"{line} ({words.say(language, 'request')} {request})"


def reason(error: BaseException) -> str:
    """Why something failed, in a few words without a path: the system's or database's own, else the error's kind."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__


def toast(error: BaseException, language: str = "en") -> Any:
    """The same as an error for `raise`, which the page shows as a toast and `gradio_client` as its exception."""
    import gradio as gr

    return gr.Error(html.escape(message_for(error, language), quote=False), print_exception=False)


def warn(text: str) -> None:
    """A toast that says `text`, in which nothing is HTML: it may hold the name of a file."""
    import gradio as gr

    gr.Warning(html.escape(text, quote=False))
