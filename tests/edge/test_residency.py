"""What stays in memory: the least recently used makes room, by a literal replay of what was asked for."""

import numpy as np
import pytest

from lad_rllib.edge.engines.residency import Residency
from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld, plain_requests
from lad_rllib.simulator.requests.play import play_decisions


def last_used(names, limit):
    """The latest distinct names, oldest first."""
    latest = list(dict.fromkeys(reversed(names)))[:limit]
    return list(reversed(latest))


def test_memory_holds_the_models_used_last():
    rng = np.random.default_rng(0)
    for limit in (1, 2, 3):
        memory, asked = Residency(models_in_memory=limit), []
        for model in rng.choice(list("abcde"), 200):
            before = set(memory.to_dict())
            memory, swap = memory.use(model)
            asked.append(model)
            assert list(memory.to_dict()) == last_used(asked, limit)
            assert swap.loads_model == (model not in before)
            assert set(swap.evicts) == before - set(memory.to_dict())


def test_a_model_holds_the_loras_used_last_and_always_those_of_the_image():
    rng = np.random.default_rng(1)
    memory = Residency(loras_in_memory=2)
    for _ in range(200):
        before = memory.to_dict().get("a", [])
        wanted = list(rng.choice(list("klmno"), rng.integers(0, 4), replace=False))
        memory, swap = memory.use("a", wanted)
        after = memory.to_dict()["a"]
        kept = [lora for lora in before if lora not in wanted]
        assert after == [*kept[len(kept) - max(0, min(len(kept), 2 - len(wanted))) :], *wanted]
        assert set(swap.loads) == set(wanted) - set(before) and set(swap.unloads) == set(before) - set(after)


def test_loras_go_with_their_model():
    memory = Residency().use("a", ["k"])[0].use("b")[0]
    assert memory.use("a", ["k"])[1].loads == ("k",)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_simulator_and_edge_servers_load_the_same_models_and_loras(room):
    rng = np.random.default_rng(room)
    models, loras = (
        rng.integers(0, 4, 300),
        rng.integers(0, 3, 300) * (room == 1),
    )  # where a server has one set of LoRAs
    server = RequestServer("s", {"": LinearService()}, models_in_memory=room, swap_s={"": 8.0}, lora_swap_s=1.0)
    names = ("a", "b", "c", "d"), ("", "x", "y")
    requests = plain_requests(np.arange(300.0), 1.0, model=models, models=names[0], loras=loras, lora_sets=names[1])
    served = play_decisions(np.zeros(300, int), RequestWorld((server,)), requests)
    memory, swap_s = Residency(models_in_memory=room, loras_in_memory=1), []
    for model, lora in zip(models, loras, strict=True):
        memory, swap = memory.use(names[0][model], [names[1][lora]] if lora else [])
        swap_s.append(8.0 * swap.loads_model + len(swap.loads))
    assert served.swap_s.tolist() == swap_s and 0 < np.count_nonzero(swap_s) < 300
