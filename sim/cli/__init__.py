"""The `bitloom` command. Each module here holds the commands of one subject; `app` puts them together, `output` holds
what they share.

Exit codes: 0 success, 1 a check fell short, 2 bad usage or input, 130 interrupted. Imports are inside `main`,
so that an interrupt at any moment ends in one word and not in a traceback.
"""

import io
import os
import signal
import sys
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Run the command line; bad input becomes one clear message and exit code 2."""
    signal.signal(signal.SIGINT, _leave_at_once)
    try:
        _run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _leave_at_once(_signal: int, _frame: FrameType | None) -> None:
    """While modules are imported: nothing has been begun, and some libraries turn the exception into another."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def _run() -> None:
    from rich.markup import escape

    from isa import InputError
    from sim.cli.app import app
    from sim.cli.output import messages

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the terminal does not know is no reason to fail
    try:
        app()
    except SystemExit as leaving:
        # The command line library turns an interrupt into an exit without a word; commands that have kept something
        # say so themselves and exit by their own will.
        if isinstance(getattr(leaving.__context__, "__cause__", None), KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
        raise
    except InputError as error:
        messages().print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"error: output: {error}\n")
        os._exit(2)  # at once: flushing what cannot be written would fail again
