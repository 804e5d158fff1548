"""A control of a service that notes what it is told."""

from lad_rllib.api import ServerInfo
from lad_rllib.errors import ConfigurationError


class Steering:
    """Two servers that exist on paper, and what was done with them."""

    policy = "any-fleet"
    oversight = None

    def __init__(self):
        self.states, self.done = {"s0": "up", "s1": "up"}, []

    async def servers(self):
        """Both servers."""
        return [
            ServerInfo(name, "emulated", ["digits"], "fifo", state, "", 1.5, 2, 1.25)
            for name, state in self.states.items()
        ]

    async def fleet_file(self):
        """One with a server on paper."""
        return {"name": "paper", "servers": [{"kind": "emulated", "name": name} for name in self.states]}

    async def add(self, entry):
        """Note a server, if it says its kind."""
        if "kind" not in entry:
            raise ConfigurationError("server number 2: kind must be one of emulated, diffusers, got None")
        self.states[entry["name"]] = "up"
        return entry["name"]

    async def drain(self, name):
        """Note it."""
        self.states[name] = "draining"

    async def remove(self, name):
        """Note it."""
        del self.states[name]

    async def swap(self, policy):
        """Note it."""
        if policy == "none":
            raise ConfigurationError("there is no policy none; name a scheduler or the folder of a checkpoint")
        self.policy = policy
        return policy
