"""What a user of the dispatcher gets for a task: an image, or a named error."""

from __future__ import annotations

from dataclasses import dataclass

from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.record import TaskRecord
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.decision import DecidedBy


@dataclass(frozen=True)
class Delivery:
    """The end of a task; every task has exactly one.

    Durations are in the fleet's seconds (an emulated fleet may run faster than the wall clock).

    Attributes:
        task: The task.
        slot: Decision round in which its server was chosen, counted from 0.
        server: Edge server that answered last; empty if the task was sent to none.
        attempts: Servers that it was sent to: 2 if it was retried.
        arrival_s: When it was handed to the dispatcher, by the fleet's clock [s].
        service_delay_s: From the hand-over to the dispatcher until the image was there [s].
        record: How the server served it; None if it failed.
        png: The image; None if it failed, or if the server draws none.
        more_pngs: Further images of the task.
        decided_by: Who chose its server.
        error: What went wrong; None if the image is there.
        decision_s: Part of the delay until a server was chosen [s]; None if none was.
    """

    task: ImageTask
    slot: int
    server: str
    attempts: int
    service_delay_s: float
    record: TaskRecord | None = None
    png: bytes | None = None
    error: EdgeError | None = None
    more_pngs: tuple[bytes, ...] = ()
    arrival_s: float = 0.0
    decision_s: float | None = None
    decided_by: DecidedBy = DecidedBy()

    @property
    def dispatch_s(self) -> float:
        """Part of the delay that the server's record does not know: dispatching, lost attempts, transport [s]."""
        return self.service_delay_s - (self.record.total_s if self.record else 0.0)

    def to_dict(self) -> dict[str, object]:
        """One row of a tidy table: the delivery, then the server's record or the error."""
        row: dict[str, object] = {
            "task_id": self.task.task_id,
            "prompt": self.task.prompt,
            "station": self.task.station,
            "steps_asked": self.task.denoising_steps,
            "slot": self.slot,
            "server": self.server,
            "attempts": self.attempts,
            "arrival_s": self.arrival_s,
            "service_delay_s": self.service_delay_s,
            "dispatch_s": self.dispatch_s,
            "error": self.error.name if self.error else "",
            "message": str(self.error) if self.error else "",
        }
        if self.record:
            row = {**self.record.to_dict(), **row}
        return row
