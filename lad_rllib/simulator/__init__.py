"""The edge network as arithmetic (NumPy, pandas): draws, arrivals, traces, delays, queues, episodes in lockstep."""

from lad_rllib.simulator.arrivals import (
    ARRIVALS,
    ArrivalFields,
    ArrivalSource,
    PoissonFields,
    SyntheticArrivals,
    SyntheticFields,
    TaskAttributes,
    TraceArrivals,
    UniformFields,
    published_task_attributes,
)
from lad_rllib.simulator.episode import EdgeSimulator, SlotDelays, SlotTasks, tasks_of_slot
from lad_rllib.simulator.marginal_cost import PlayedEpisodes, marginal_costs_s
from lad_rllib.simulator.network import EdgeNetwork, draw_network, published_network
from lad_rllib.simulator.order import ORDERS, FairTags, Order, make_order, order_text
from lad_rllib.simulator.penalties import (
    PENALTIES,
    DeadlineMiss,
    DelayPenalty,
    Lateness,
    MeanDelay,
    Tail,
    make_penalty,
    parse_penalty,
)
from lad_rllib.simulator.settings import (
    PRESETS,
    Setting,
    build_setting,
    load_setting,
    load_spec,
    override_spec,
    resolve_paths,
    setting_groups,
    setting_schema,
)
from lad_rllib.simulator.task_by_task import TaskByTask
from lad_rllib.simulator.tasks import Arrivals, stack_arrivals
from lad_rllib.simulator.traces.reading import read_trace, sample_trace_path
from lad_rllib.simulator.traces.rules import TraceRules

__all__ = [
    "ARRIVALS",
    "ORDERS",
    "PENALTIES",
    "PRESETS",
    "Arrivals",
    "ArrivalFields",
    "ArrivalSource",
    "DeadlineMiss",
    "DelayPenalty",
    "EdgeNetwork",
    "EdgeSimulator",
    "FairTags",
    "Lateness",
    "MeanDelay",
    "Order",
    "PlayedEpisodes",
    "PoissonFields",
    "Setting",
    "SlotDelays",
    "SlotTasks",
    "SyntheticArrivals",
    "SyntheticFields",
    "Tail",
    "TaskAttributes",
    "TaskByTask",
    "TraceArrivals",
    "TraceRules",
    "UniformFields",
    "build_setting",
    "draw_network",
    "load_setting",
    "load_spec",
    "make_order",
    "make_penalty",
    "marginal_costs_s",
    "order_text",
    "override_spec",
    "parse_penalty",
    "published_network",
    "published_task_attributes",
    "read_trace",
    "resolve_paths",
    "sample_trace_path",
    "setting_groups",
    "setting_schema",
    "stack_arrivals",
    "tasks_of_slot",
]
