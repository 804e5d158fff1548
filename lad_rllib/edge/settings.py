"""Settings of an edge server, declared once for servers in code and for entries of a fleet file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from lad_rllib.declared import Declared
from lad_rllib.edge.task import MAX_SIDE, SIZE_MULTIPLE
from lad_rllib.simulator.order import FirstInFirstOut, OrderSpec, make_order, order_text

MAX_QUEUE_LIMIT = 4096
"""Tasks that may wait at one server; as an actor it keeps a thread for each."""

Positive = Annotated[float, Field(gt=0, le=1e9)]

Side = Annotated[int, Field(ge=SIZE_MULTIPLE, le=MAX_SIDE, multiple_of=SIZE_MULTIPLE)]
"""Width or height of an image [pixel]."""

Size = Annotated[list[Side], Field(min_length=2, max_length=2)]


class ServerSettings(Declared):
    """Settings of an edge server besides its name and its engine."""

    order: OrderSpec = "fifo"
    """Order of service: a name (``fifo``, ``shortest_first``, ``aged``, ``deadline``, ``priority``, ``fair``),
    ``name:field=number``, or a group of ``name`` and fields."""
    preemption: bool = False
    """Whether the running task is suspended between two denoising steps for one whose key is less than that of what is
    left of it; its image stays the same."""
    link_rate_mbit_per_s: Positive | None = None
    """Rate of an emulated link to and from the server [Mbit/s]: input and image arrive so much later; null: no link."""
    queue_limit: Annotated[int, Field(ge=1, le=MAX_QUEUE_LIMIT)] = 64
    """Tasks that may wait beside the running one; further ones are refused."""
    stall_s: Positive = 300.0
    """Unhealthy if the running task did no step for so long [s]."""
    allowed_sizes: Annotated[list[Size], Field(min_length=1)] | None = None
    """Sizes (width, height) that are served [pixel]; null: all that the engine can."""
    warm_up_sizes: list[Size] | None = None
    """Sizes that run once before it is ready [pixel]; null: the engine's default size; ``[]``: none."""

    @model_validator(mode="after")
    def _order_can_interrupt(self) -> Self:
        order = make_order(self.order)
        if self.preemption and (order.shares is not None or isinstance(order, FirstInFirstOut)):
            raise ValueError(
                f"preemption is true, but in order {order_text(order)} no task goes before one that has begun; take "
                "shortest_first, aged, deadline or priority"
            )
        return self
