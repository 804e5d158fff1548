"""The memory table of SD3-medium against what is published about its size, and its profiles against one another."""

import pytest

from benchmarks import memory_table
from lad_rllib.edge import MEMORY_PROFILES


@pytest.fixture(scope="module")
def models():
    return memory_table.build_models()


def test_the_parameters_are_those_of_sd3_medium(models):
    millions = {name: round(memory_table.parameters(model) / 1e6) for name, model in models.items()}
    assert millions == {"MMDiT": 2028, "CLIP-L": 124, "OpenCLIP bigG": 695, "T5-XXL": 4762, "VAE": 84}


def test_leaving_t5_out_saves_the_sixty_per_cent_of_the_paper(models):
    total = sum(map(memory_table.parameters, models.values()))
    assert memory_table.parameters(models["T5-XXL"]) / total == pytest.approx(0.619, abs=0.001)


def test_every_memory_profile_has_a_figure_and_each_saves_what_it_should(models):
    gib = memory_table.profile_gib(models)
    assert set(gib) == set(MEMORY_PROFILES)
    assert gib["full"] == pytest.approx(14.33, abs=0.01) and gib["no_t5"] == pytest.approx(5.46, abs=0.01)
    assert gib["group_offload"] < gib["model_offload"] < gib["fp8"] < gib["no_t5"] < gib["nf4_t5"] < gib["full"]
