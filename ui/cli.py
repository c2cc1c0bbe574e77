"""`duet`: the command line. Lists the commands, imports the one asked for, and turns every error into one line."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import typer
import typer.core
import typer.main

from experts.errors import DuetError, UnknownNameError
from ui.commands.options import tell

COMMANDS: dict[str, str] = {  # command -> module:function, or module:app for a group of commands
    "ask": "ui.commands.ask:ask",
    "orchestrate": "ui.commands.orchestrate:orchestrate",
    "tool": "ui.commands.tools:tool",
    "tools": "ui.commands.tools:tools",
    "run": "ui.commands.tools:run",
    "serve": "ui.commands.serve:serve",
    "mcp": "ui.commands.serve:mcp",
    "traces": "ui.commands.traces:app",
    "memory": "ui.commands.memory:app",
    "models": "ui.commands.models:app",
    "weights": "ui.commands.weights:app",
    "data": "ui.commands.data:app",
    "train": "ui.commands.train:train",
    "average": "ui.commands.train:average",
    "evaluate": "ui.commands.evaluate:evaluate",
    "calibrate": "ui.commands.evaluate:calibrate",
    "compare": "ui.commands.compare:compare",
    "votes": "ui.commands.votes:app",
    "ui": "ui.commands.serve:ui",
}
SUMMARIES: dict[str, str] = {  # command -> its line in `duet --help`, which imports no command
    "ask": "Ask a question about media.",
    "orchestrate": "Ask with a language model that plans, decides and refines.",
    "tool": "Run one expert on files.",
    "tools": "List the experts.",
    "run": "Run the tool calls of a plan file and print what they gave, as JSON.",
    "serve": "Serve OpenAI's API at /v1 and MCP at /mcp.",
    "mcp": "Serve MCP over stdin and stdout, as desktop programs start it.",
    "traces": "Recorded questions: list them, look at one, export them.",
    "memory": "What is remembered: list it, search it, forget it.",
    "models": "Multimodal models that can be the connector.",
    "weights": "The weights: what there is, fetch it, check it.",
    "data": "Data that the connector learns from.",
    "train": "Train a stage; its checkpoints, log and saved model go into --out.",
    "average": "Save a mean of two models' weights.",
    "evaluate": "Measure routes on a benchmark; a run that was cut off goes on where it was.",
    "calibrate": "Fit the policy of route auto to rows of both routes, and report it as a router.",
    "compare": "Compare routes on your own questions; a run that was cut off goes on where it was.",
    "votes": "The arena's votes: out, in, and what they say.",
    "ui": "Chat with either interface and compare them, in the browser.",
}
STOPPED = 130  # exit code after an interrupt, as shells have it


class _Commands(typer.core.TyperGroup):
    """The group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            found = getattr(importlib.import_module(module), attribute)
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            if isinstance(found, typer.Typer):
                alone.add_typer(found, name=cmd_name)
            else:
                alone.command(cmd_name)(found)
            command = typer.main.get_group(alone).commands[cmd_name]
            if isinstance(command, typer.core.TyperGroup):
                command.no_args_is_help = False  # a command that is missing is an error like any other
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with rich, help takes twice the time
    context_settings={"max_content_width": 120},
)


@app.callback()
def duet() -> None:
    """Answers questions about images, sound and video through experts and through a connector, and compares them."""


def main(arguments: list[str] | None = None) -> None:
    """The `duet` program: exit 0, 1 for a failure, 2 for input that is not accepted; an error is one line on stderr."""
    if arguments is None:
        _open_streams()
    _write_any_text()
    code = run(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and any(thread.name == "duet-expert" for thread in threading.enumerate()):
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.flush()
        os._exit(code)  # an expert that was given up is still in native code, which aborts when Python ends around it
    if code:
        raise SystemExit(code)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    arguments = arguments or ["--help"]
    as_json = "--json" in arguments
    try:
        code = app(args=arguments, prog_name="duet", standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where what goes wrong can be told
        return (
            code if code != STOPPED else _fail("Interrupted", "stopped", STOPPED, as_json)
        )  # typer's for an interrupt
    except BrokenPipeError:  # whoever read the output wants no more of it, as `head` does
        return _hushed()
    except DuetError as error:
        return _fail(type(error).__name__, str(error), error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Interrupted", "stopped", STOPPED, as_json)
    except OSError as error:
        named = f"'{Path(str(error.filename)).name}'" if error.filename else "a file, or the output,"
        if _is_full(error):
            _hushed()  # what waits to be written would fail once more when Python ends
        what = f"{named} cannot be read or written: {error.strerror or type(error).__name__}"
        return _fail("OSError", what, 1, as_json)
    except Exception as error:
        usage = _usage_error(error, arguments)
        if usage is not None:
            return _fail("UsageError", usage, 2, as_json)
        if os.environ.get("DUET_DEBUG"):
            raise
        what = f"a fault in duet itself ({type(error).__name__}); please report it with what DUET_DEBUG=1 shows"
        return _fail("InternalError", what, 1, as_json)


def _open_streams() -> None:
    """Stand-ins for standard streams that are closed: else the next file that is opened would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _write_any_text() -> None:
    """What stdout and stderr cannot encode (Chinese in cp1252, half of a character anywhere) is written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_full(error: OSError) -> bool:
    return error.filename is None and error.errno == errno.ENOSPC


def _hushed() -> int:
    """Nothing more goes to stdout, nor is it tried when Python ends."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return 1


def _usage_error(error: Exception, arguments: list[str]) -> str | None:
    """The line for a wrong option or argument, which typer's parser raises; None for anything else."""
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    if context is not None:
        path = context.command_path
        if hasattr(context.command, "list_commands") and message == "Missing command":
            message += f" after '{path}'; known: {', '.join(context.command.list_commands(context))}"
    else:
        path = " ".join(["duet", *arguments[:1]]) if arguments[0] in COMMANDS else "duet"
    return f"{message}; see {path} --help"


def _fail(kind: str, message: str, code: int, as_json: bool) -> int:
    tell(kind, message, as_json)
    return code


if __name__ == "__main__":
    main()
