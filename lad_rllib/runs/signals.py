"""Ctrl-C, SIGTERM and a closed terminal or pipe end a command in one line at most, with the right exit status."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RESEND_AFTER_S = 0.01
_ECHO_S = 0.2
_SHOW_CURSOR = "\x1b[?25h"
_AT_ONCE = "interrupted again: ended at once"


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end.

    Args:
        number: The signal.
        note: What became of the results, for the user.

    Attributes:
        status: Exit status that names the signal, as shells have it.
    """

    def __init__(self, number: int, note: str = "") -> None:
        super().__init__(number, note)
        self.number, self.note, self.status = number, note, 128 + number

    def __str__(self) -> str:
        return f"interrupted; {self.note}" if self.note else "interrupted"


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Raise :class:`Interrupted` in the main thread at a signal; the next one ends the process at once.

    What is sent twice for one event counts once. Handlers are put back at the end, except after a signal: until the
    process has ended, one more ends it at once. Signals that are ignored, for example under nohup, stay ignored. In
    other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: tuple[int, float] | None = None
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal came
        _leave_closed_terminals(terminals)
        if came is not None:
            if not _is_echo(number, *came):
                _end_at_once(number, terminals)
            return
        came = number, time.monotonic()
        raise Interrupted(number)

    def unraisable(problem: Any) -> None:
        """Python drops exceptions in finalisers; send the signal again."""
        nonlocal came
        if not isinstance(problem.exc_value, Interrupted):
            hook_before(problem)
            return
        came = None
        threading.Timer(_RESEND_AFTER_S, os.kill, (os.getpid(), problem.exc_value.number)).start()

    before = _install(take)
    hook_before, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        if came is None:
            _put_back(before)


class StopRequest:
    """Takes the first signal as a wish to stop soon; the next one interrupts.

    Args:
        promise: What happens now, told to the user at the first signal.
        pass_on: Called at the first signal; it returns whether anything will stop. If not, the signal interrupts.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self, promise: str, pass_on: Callable[[], bool] = lambda: True) -> None:
        self.signal: int | None = None
        self._promise, self._pass_on = promise, pass_on
        self._came_at_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._before = _install(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        _put_back(self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and _is_echo(number, self.signal, self._came_at_s):
            return
        if self.signal is not None or not self._pass_on():
            self._before[number](number, frame)
            return
        self.signal, self._came_at_s = number, time.monotonic()
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\n{self._promise}; once more to stop at once", file=sys.stderr, flush=True)


def _is_echo(number: int, earlier: int, earlier_s: float) -> bool:
    """Whether a signal belongs to the same event as an earlier one.

    A closed terminal is told by the kernel and by the shell; ``timeout`` sends its signal to the process and its group.
    """
    return number == earlier and (number == signal.SIGHUP or time.monotonic() - earlier_s < _ECHO_S)


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle all signals that are not ignored; returns the handlers before."""
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in numbers}


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _leave_closed_terminals(terminals: list[int]) -> None:
    """Write to nowhere instead of to a terminal that was closed, where each line would be an error."""
    for number in terminals:
        if not os.isatty(number):
            _write_to_nowhere(number)


def leave_closed_pipes() -> bool:
    """Write to nowhere instead of to pipes that nobody reads; returns whether there are any.

    What standard output and standard error still hold would otherwise raise again when the process ends.
    """
    pipes = select.poll()
    for number in (1, 2):
        pipes.register(number, 0)
    closed = [number for number, event in pipes.poll(0) if event & select.POLLERR]
    for number in closed:
        _write_to_nowhere(number)
    return bool(closed)


def _write_to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _end_at_once(number: int, terminals: list[int]) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR if 2 in terminals else ''}{_AT_ONCE}\n".encode())
    os._exit(128 + number)
