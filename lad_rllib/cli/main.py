"""Entry point of the console command; it reads the arguments before it loads what the command needs."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

from lad_rllib import __version__
from lad_rllib.cli import flags
from lad_rllib.cli.parsing import CommandParser
from lad_rllib.errors import ConfigurationError, TrainingDiverged
from lad_rllib.runs import local_ray, signals

WRITE_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors of a disk that is full, over quota, at the limit of a file's size, read-only, or broken."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parsed = parser().parse_args(arguments)
    return run_command(lambda options: import_module(f"lad_rllib.cli.{options.command}").run(options), parsed)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = CommandParser(
        prog="lad-rllib", description="Train and judge schedulers of text-to-image requests on edge networks (LAD-TS)."
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in flags.COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return whole


def script_main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command as a script of its own, without naming the command."""
    return main([name, *(sys.argv[1:] if arguments is None else arguments)])


def run_command(run: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    """Run a command, with one line on standard error for whatever a user can act on; returns the exit status.

    It is 2 for a mistake of the user's or a failing server; 1 for training that has diverged, a disk that is full or
    read-only, an actor or a node of the Ray cluster that was lost, or output that nobody reads (``| head``), which
    needs no words; 130, 143 or 129 for Ctrl-C, SIGTERM or a closed terminal.
    """
    with signals.handled():
        try:
            return _run(run, parsed)
        except KeyboardInterrupt as caught:  # also what others raise at Ctrl-C, without a signal of ours
            interruption = caught if isinstance(caught, signals.Interrupted) else signals.Interrupted(signal.SIGINT)
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"lad-rllib {parsed.command}: {interruption}", file=sys.stderr)
            local_ray.end()
            return interruption.status
        except BrokenPipeError:
            if not signals.leave_closed_pipes():
                raise
            return 1


def _run(run: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    from lad_rllib.edge.errors import EdgeError
    from lad_rllib.runs.output_folder import release_folders

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if not getattr(parsed, "quiet", False):
        show_remarks("lad_rllib.kernels")
    try:
        status = run(parsed)
        sys.stdout.flush()
        return status
    except (ConfigurationError, EdgeError) as error:
        print(f"lad-rllib {parsed.command}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        message = str(error) if isinstance(error, TrainingDiverged) else _write_failure(error, parsed) or _loss(error)
        if message is None:
            raise
        print(f"lad-rllib {parsed.command}: {message}", file=sys.stderr)
        return 1
    finally:
        release_folders()


def _write_failure(error: BaseException | None, parsed: argparse.Namespace) -> str | None:
    """What to say of an error that comes of a full, read-only or failing disk; None for others."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in WRITE_FAILURES:
            place = error.filename or getattr(parsed, "output", None) or "results"
            return (
                f"cannot write {place}: {os.strerror(error.errno)}; what was written before is kept; make room there, "
                f"or choose another place"
            )
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__  # Ray has its own "cause"
    return None


def _loss(error: BaseException) -> str | None:
    """What to say of an actor or a node of the Ray cluster that was lost; None for others, as of a task that raised."""
    exceptions = sys.modules.get("ray.exceptions")
    if exceptions is None or not isinstance(error, exceptions.RayError) or isinstance(error, exceptions.RayTaskError):
        return None
    first, *others = str(error).splitlines() or [type(error).__name__]
    if "creation task" not in first:
        return f"the Ray cluster lost a process: {first}"
    reason = next((line for line in others if line and not line[0].isspace()), first)  # after the traceback
    return f"an actor on the Ray cluster could not be started: {reason}"


def show_remarks(logger: str) -> None:
    """Show what a part of the package logs, on standard error."""
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: print(record.getMessage(), file=sys.stderr, flush=True)  # type: ignore[method-assign]
    logging.getLogger(logger).setLevel(logging.INFO)
    logging.getLogger(logger).handlers = [handler]
