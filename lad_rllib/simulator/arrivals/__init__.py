"""Where tasks come from."""

from lad_rllib.simulator.arrivals.base import (
    ARRAYS,
    Arrivals,
    ArrivalSource,
    PoissonArrivals,
    TaskAttributes,
    TaskRanges,
    UniformArrivals,
    draw_task_attributes,
    published_task_attributes,
    stack_arrivals,
)

__all__ = [
    "ARRAYS",
    "Arrivals",
    "ArrivalSource",
    "PoissonArrivals",
    "TaskAttributes",
    "TaskRanges",
    "UniformArrivals",
    "draw_task_attributes",
    "published_task_attributes",
    "stack_arrivals",
]
