"""What tests of a running service share."""

import socket

PROFILE = {"overhead_s": 0.05, "per_step_s": 0.01}


def entry(name, **more):
    """A quick emulated server, as in a fleet file."""
    return {"name": name, "kind": "emulated", "profile": PROFILE, "num_cpus": 0.1, "queue_limit": 500, **more}


def free_port():
    """A port where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
