"""Errors of image requests, by name; each message is one line with the remedy.

An edge server raises them, a Ray actor passes them on, a web service puts ``name`` in its answer.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeError(Exception):
    """An image could not be generated.

    Args:
        message: One line: the problem and the remedy.
        server: Name of the edge server, where one is known.
        task_id: The task, where one is known.

    Attributes:
        name: Name of the kind of error, the same in every process and in every answer to a user.
        retryable: Whether the same task may succeed if it is sent again as it is, here later or to another server.
        needs_restart: Whether the server cannot heal by itself: all later tasks fail, too, until its process (or, in
            this process, its engine) starts again. Memory that ran out heals; a lost device does not.
        of_engine: Whether the engine failed at the image, be it the server's fault or the task's: it counts towards the
            failures after which a server recovers, and a dispatcher sends the task to one other server.
    """

    name: ClassVar[str] = "edge_error"
    retryable: ClassVar[bool] = False
    needs_restart: ClassVar[bool] = False
    of_engine: ClassVar[bool] = False

    def __init__(self, message: str, *, server: str | None = None, task_id: str | None = None) -> None:
        super().__init__(message)  # pickle restores the message from args and the rest from __dict__
        self.server = server
        self.task_id = task_id

    def to_dict(self) -> dict[str, object]:
        """The error as a row of a table or the body of an answer."""
        return {
            "error": self.name,
            "message": str(self.args[0]),
            "retryable": self.retryable,
            "server": self.server,
            "task_id": self.task_id,
        }


class InvalidRequest(EdgeError):
    """The task itself cannot be served as asked: empty prompt, no denoising steps, a size that is not allowed."""

    name = "invalid_request"


class QueueFull(EdgeError):
    """The server's queue has no room; another server, or this one later, may take the task."""

    name = "queue_full"
    retryable = True


class DeadlineExceeded(EdgeError):
    """The task's deadline passed in the queue or while it ran."""

    name = "deadline_exceeded"


class TaskCancelled(EdgeError):
    """The task was cancelled."""

    name = "cancelled"


class OutOfMemory(EdgeError):
    """The device has too little memory for the image, also after its caches were freed and a second attempt."""

    name = "out_of_memory"
    of_engine = True


class DeviceBroken(EdgeError):
    """The server's process has lost its device (illegal memory access, device-side assert); start the process again."""

    name = "device_broken"
    retryable = True
    needs_restart = True


class ModelLoadFailed(EdgeError):
    """The server's model could not be loaded; it serves nothing until it is started with a model that can be."""

    name = "model_load_failed"


class ServerUnavailable(EdgeError):
    """The server does not answer, shuts down or has lost its process. The task may have been executed."""

    name = "server_unavailable"
    retryable = True


class NonFiniteImage(EdgeError):
    """The model computed infinite values or NaN: its number format overflowed. No picture is made of them."""

    name = "non_finite_image"
    of_engine = True


class GenerationFailed(EdgeError):
    """The image model raised an error that none of the other names describes."""

    name = "generation_failed"
    of_engine = True


EDGE_ERRORS: dict[str, type[EdgeError]] = {error.name: error for error in EdgeError.__subclasses__()}
"""Every kind of error by its name."""


def one_line(error: BaseException) -> str:
    r"""First line of an exception's message with its class, at most 300 characters.

    >>> one_line(ValueError("no such size\nand more"))
    'ValueError: no such size'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}"[:300] if lines else type(error).__name__
