"""Where tasks come from: one file for each source. A new file that registers a source is found by itself."""

import importlib
import pkgutil

from lad_rllib.simulator.arrivals.base import ARRIVALS, ArrivalFields, ArrivalSource
from lad_rllib.simulator.arrivals.synthetic import (
    SyntheticArrivals,
    SyntheticFields,
    TaskAttributes,
    published_task_attributes,
)

from lad_rllib.simulator.arrivals.uniform import UniformFields  # isort: skip  (first in lists of sources)
from lad_rllib.simulator.arrivals.poisson import PoissonFields
from lad_rllib.simulator.arrivals.trace import TraceArrivals, TraceFields

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ARRIVALS",
    "ArrivalFields",
    "ArrivalSource",
    "PoissonFields",
    "SyntheticArrivals",
    "SyntheticFields",
    "TaskAttributes",
    "TraceArrivals",
    "TraceFields",
    "UniformFields",
    "published_task_attributes",
]
