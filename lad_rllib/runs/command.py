"""How a command or an experiment runs: what a user can act on is one line on standard error, and an exit status."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from lad_rllib.errors import ConfigurationError, TrainingDiverged
from lad_rllib.runs import local_ray, signals

WRITE_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors of a disk that is full, over quota, at the limit of a file's size, read-only, or broken."""

Given = TypeVar("Given", bound=Any)


def run_command(run: Callable[[Given], int], options: Given) -> int:
    """Run a command, with one line on standard error for whatever a user can act on; returns the exit status.

    It is 2 for a mistake of the user's or a failing server; 1 for training that has diverged, a disk that is full or
    read-only, an actor or a node of the Ray cluster that was lost, or output that nobody reads (``| head``), which
    needs no words; 130, 143 or 129 for Ctrl-C, SIGTERM or a closed terminal.

    Args:
        run: The command.
        options: What it is called with; ``options.command`` is its name, ``options.output`` where it writes.
    """
    with signals.handled():
        try:
            return _run(run, options)
        except KeyboardInterrupt as caught:  # also what others raise at Ctrl-C, without a signal of ours
            interruption = caught if isinstance(caught, signals.Interrupted) else signals.Interrupted(signal.SIGINT)
            with contextlib.suppress(OSError):  # the terminal may be gone
                _complain(options, str(interruption))
            local_ray.end()
            return interruption.status
        except BrokenPipeError:
            if not signals.leave_closed_pipes():
                raise
            return 1


def _run(run: Callable[[Given], int], options: Given) -> int:
    from lad_rllib.edge.errors import EdgeError
    from lad_rllib.runs.output_folder import release_folders

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if not getattr(options, "quiet", False):
        show_remarks("lad_rllib.compiling")
    try:
        status = run(options)
        sys.stdout.flush()
        return status
    except (ConfigurationError, EdgeError) as error:
        _complain(options, str(error))
        return 2
    except Exception as error:
        message = str(error) if isinstance(error, TrainingDiverged) else _write_failure(error, options) or _loss(error)
        if message is None:
            raise
        _complain(options, message)
        return 1
    finally:
        release_folders()


def _complain(options: Any, message: str) -> None:
    print(f"lad-rllib {options.command}: {message}", file=sys.stderr)


def _write_failure(error: BaseException | None, options: Any) -> str | None:
    """What to say of an error that comes of a full, read-only or failing disk; None for others."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in WRITE_FAILURES:
            place = error.filename or getattr(options, "output", None) or "results"
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
