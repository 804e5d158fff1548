"""A Ray of the tests' own, without the processes that no test needs."""

import contextlib
from unittest import mock

from lad_rllib.runs.local_ray import SYSTEM_CONFIG

LEAN_CONFIG = SYSTEM_CONFIG | {"metrics_report_interval_ms": 60_000}
"""Settings of such a Ray; nobody reads its metrics."""


@contextlib.contextmanager
def without_idle_processes():
    """Where a Ray that is started has no process for logs, an autoscaler or a dashboard.

    Nobody reads what they offer; ``make test`` starts several clusters, and they would cost 10 s of a core in each.
    """
    node = "ray._private.node.Node"
    with (
        mock.patch(f"{node}.start_log_monitor"),
        mock.patch(f"{node}.start_monitor"),  # the autoscaler's
        mock.patch(f"{node}.start_api_server"),  # the dashboard's, which Ray starts also where it is left out
    ):
        yield
