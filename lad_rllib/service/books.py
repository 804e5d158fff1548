"""What a dispatcher knows of its servers without asking them: what it sent, what came back, and who is alive."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ServerBook:
    """Tasks that one server still owes, in the order they were sent; a first-in-first-out server works on the first.

    Attributes:
        name: The server.
        alive: Whether it is a choice at present.
        reason: Why not, one line.
        out_since: When it stopped being a choice [s, monotonic].
        given_up: Names of the tasks that it had then; it may still have them.
        since: Start of the server as it last said [s since 1970]; 0 before it said anything.
        work_s: Predicted computing delay of each task that is out, by ticket [s].
        head_since_s: When the server began with the first of them, as far as known [s].
    """

    name: str
    alive: bool = True
    reason: str = ""
    out_since: float = 0.0
    given_up: list[str] = field(default_factory=list)
    since: float = 0.0
    work_s: dict[int, float] = field(default_factory=dict)
    head_since_s: float = 0.0

    def sent(self, ticket: int, computing_s: float, now_s: float) -> None:
        """A task was sent that will take the server so long."""
        if not self.work_s:
            self.head_since_s = now_s
        self.work_s[ticket] = computing_s

    def answered(self, ticket: int, now_s: float) -> None:
        """An answer came, or the task was given up."""
        if self.work_s.pop(ticket, None) is not None:
            self.head_since_s = now_s

    def forget(self) -> list[int]:
        """Give up on everything that is out; returns the tickets."""
        tickets = list(self.work_s)
        self.work_s.clear()
        return tickets

    def queue_s(self, now_s: float) -> float:
        """Predicted time until a task sent now would start [s]: all that is out, less what the first has had.

        >>> book = ServerBook("a")
        >>> book.sent(1, 2.0, now_s=10.0); book.sent(2, 3.0, now_s=10.5)
        >>> book.queue_s(11.0)
        4.0
        """
        if not self.work_s:
            return 0.0
        first = next(iter(self.work_s.values()))
        return sum(self.work_s.values()) - min(first, max(0.0, now_s - self.head_since_s))
