"""Key names shared by environments and algorithms, so that neither has to import the other.

Axes: B base stations, A edge servers, N tasks of one station in one slot (padded to the setting's maximum).
"""

from typing import Literal

# Observation of one slot.
TASKS = "tasks"  # (B, N, 2) float32: input size [Mbit] and workload [Gcycle]; 0 where there is no task
TASK_COUNTS = "task_counts"  # (B,) int32: number of tasks that arrived at each station in this slot
# (A,) float32: work queued at each server at the start of the slot [Gcycle]; or the waiting time that it means, in
# seconds or in slots (env_config "queue_unit")
QUEUES = "queues"
SLOT_LENGTH = "slot_length"  # (1,) float32: length of a slot [s]; its space holds the same bounds
CAPACITIES = "capacities"  # (A,) float32: computing capacity of each server [Gcycle/s]; its space holds the same bounds

# Infos of one slot.
TASK_DELAYS = "task_delays_s"  # (B, N) float32: service delay of each task [s]; 0 where there is no task
# Of an environment that learns delays late, instead of TASK_DELAYS: those that became known since the last step, of
# this or an earlier slot of the episode. (K, 4) float32: slot, station, index at the station, service delay [s]
REPORTED_DELAYS = "reported_delays"
SLOT_OVERRUN = "slot_overrun_s"  # float: by how much a slot was longer than it should be, since decisions came late [s]
FAILED_TASKS = "failed_tasks"  # int: tasks among those reported that ended in an error
DELAY_PARTS = ("upload_s", "waiting_s", "computing_s", "download_s")  # one task's, a number each [s]
SLOT_INDEX = "slot_index"  # int: slot that the observation belongs to

# Metrics of one episode.
MEAN_DELAY = "mean_service_delay_s"  # mean service delay over all tasks of an episode [s]
DELAY_PERCENTILES = {95: "p95_service_delay_s", 99: "p99_service_delay_s"}  # the same, percentiles
ORACLE_DELAY = "greedy_oracle_delay_s"  # the greedy oracle's on the same arrivals [s]
WATER_FILLING_DELAY = "water_filling_delay_s"  # of a random choice that levels the queues seen at slot start [s]
LEAST_WORK_DELAY = "least_work_left_delay_s"  # of sending each request to the server that would be idle first [s]
PROPORTIONAL_DELAY = "capacity_proportional_delay_s"  # of a random choice in proportion to capacity [s]
DELAY_OVER_ORACLE = "delay_over_oracle"  # mean service delay over the greedy oracle's
LOSS_STRENGTH = "loss_strength"  # strength of a bound on a percentile of the delays
STALENESS = "staleness"  # by how many updates the weights were behind, at most, that episodes were played with

# Metrics of an iteration on real edge servers, beside FAILED_TASKS.
ENDED_TASKS = "ended_tasks"  # tasks that ended, with an image or an error

# Heuristics that every learning curve and table has beside it, on the same arrivals.
YARDSTICKS = {
    "greedy-oracle": ORACLE_DELAY,
    "water-filling": WATER_FILLING_DELAY,
    "capacity-proportional": PROPORTIONAL_DELAY,
}

# The same of requests that come one by one. With queues and work known at each request, the shortest expected delay
# first in, first out is the greedy oracle's decision.
REQUEST_YARDSTICKS = {"shortest-expected-delay": ORACLE_DELAY, "least-work-left": LEAST_WORK_DELAY}
ALL_YARDSTICKS = tuple(dict.fromkeys((*YARDSTICKS.values(), *REQUEST_YARDSTICKS.values())))

# Algorithms on the command line and in text.
ALGORITHMS = {
    "lad-ts": "LAD-TS",
    "lad-pmd": "LAD-PMD",
    "lad-dispatch": "LAD-Dispatch",
    "d2sac-ts": "D2SAC-TS",
    "sac-ts": "SAC-TS",
    "dqn-ts": "DQN-TS",
}
DEFAULT_ALGORITHM = "lad-ts"

# What the command line lets its users choose; each room's own table has exactly these.
SETTING_PRESETS = ("paper", "paper-random", "small", "sample-trace")
SUITE_WORKLOADS = ("paper", "paper-one-by-one", "unequal-8", "bursty", "swap-heavy", "gentd26")
REQUEST_PRESETS = ("paper-one-by-one", "equal-3", "unequal-8", "unequal-8-bursty", "daily", "swap-heavy", "gentd26")
SHIPPED_FLEETS = ("digits", "emulated", "unequal-8", "mixed", "jetson", "gpu-cluster", "image-servers")
RANDOM_FLEETS = ("any-fleet",)  # another fleet in each episode
SHIPPED_POLICIES = ("any-fleet",)  # trained policies that come with the package
HEURISTICS = (
    "greedy-oracle",
    "shortest-expected-delay",
    "water-filling",
    "capacity-proportional",
    "least-loaded-exact",
    "least-loaded",
    "round-robin",
    "random",
    "local-only",
)
REQUEST_SCHEDULERS = (
    "shortest-expected-delay",
    "least-work-left",
    "least-work-left-affinity",
    "resident-first",
    "join-shortest-queue",
    "power-of-two",
    "declared-cost",
    "size-intervals",
    "first-policy-iteration",
    "card",
    "self-priced",
    "capacity-proportional",
    "round-robin",
    "random",
)
ORDERS = ("fifo", "shortest_first", "aged", "deadline", "priority", "fair")
POLICY = "policy"  # the scheduler that a checkpoint holds, whichever algorithm trained it
SEARCHES = ("random", "grid", "optuna")
TRIAL_SCHEDULERS = ("asha", "pbt", "median", "none")
ServerHosts = Literal["actors", "applications"]  # what the servers of a service are
EVALUATION_PART = (0.7, 1.0)  # of a request log: what training does not see
