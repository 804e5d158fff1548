"""What processes of a service load when they start: every package more is time in which nobody is served."""

import pickle
import subprocess
import sys

import pytest

from lad_rllib.serving import named_policy

NEEDLESS = {"diffusers", "gymnasium", "matplotlib", "ray.data", "ray.rllib", "ray.tune", "scipy.optimize", "torch"}

SERVER_THEN_INGRESS = f"""
import pickle, sys
from lad_rllib.serving import edge_application

print(sorted({{"lad_rllib.api", "lad_rllib.scheduling", "lad_rllib.service", "numba", "scipy"}} & sys.modules.keys()))

import numpy as np
from lad_rllib.serving import ingress
from lad_rllib.service import RequestModel
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.simulator.requests import build_request_setting

setting = build_request_setting({{"servers": [1.0, 0.5], "traffic": {{"kind": "poisson", "load": 0.7}}}})
model = RequestModel(setting.world, setting.history())
policy = GuardedScheduler(pickle.load(sys.stdin.buffer), "any-fleet")
policy.begin(model.world, model.history)
assert policy.choose(model.idle_view(), np.random.default_rng(0)) == 0 and not policy.left
print(sorted({NEEDLESS!r} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def needless():
    """What a process of a server, and then one of an ingress, has loaded without need."""
    program, policy = [sys.executable, "-c", SERVER_THEN_INGRESS], pickle.dumps(named_policy("any-fleet"))
    ran = subprocess.run(program, input=policy, capture_output=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode().splitlines()


def test_an_edge_server_loads_neither_the_api_nor_policies_and_their_packages(needless):
    assert needless[0] == "[]"


def test_an_ingress_with_the_shipped_policy_decides_without_learning_and_its_packages(needless):
    assert needless[1] == "[]"


SWAP = f"""
import sys
from lad_rllib.serving import ingress
from lad_rllib.serving.policies import policy_read_elsewhere

print(policy_read_elsewhere("any-fleet").fingerprint, sorted({NEEDLESS!r} & sys.modules.keys()))
"""


def test_a_trained_policy_is_swapped_in_without_loading_what_reads_it():
    ran = subprocess.run([sys.executable, "-c", SWAP], capture_output=True, check=False, timeout=300)
    fingerprint = named_policy("any-fleet").fingerprint
    assert ran.stdout.decode().strip() == f"{fingerprint} []", ran.stderr.decode()
