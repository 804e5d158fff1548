"""What an ingress loads when it is started again: every package more is time in which nobody is served."""

import pickle
import subprocess
import sys

from lad_rllib.serving import named_policy

NEEDLESS = {"diffusers", "gymnasium", "matplotlib", "ray.data", "ray.rllib", "ray.tune", "scipy.optimize", "torch"}

INGRESS = f"""
import pickle, sys
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


def test_an_ingress_with_the_shipped_policy_decides_without_learning_and_its_packages():
    policy = pickle.dumps(named_policy("any-fleet"))
    ran = subprocess.run([sys.executable, "-c", INGRESS], input=policy, capture_output=True, check=False, timeout=300)
    assert ran.stdout.decode().strip() == "[]", ran.stderr.decode()


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
