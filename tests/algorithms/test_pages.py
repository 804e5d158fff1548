"""Each algorithm is documented in one form, and what it takes is shown as it is declared."""

import inspect
import re
from pathlib import Path

import pytest

from lad_rllib import algorithms, names
from lad_rllib.algorithms import CONFIGS

FORM = ["Equations", "Settings", "What is logged", "Implementation details", "Results"]


@pytest.mark.parametrize("name", CONFIGS)
def test_an_algorithm_has_a_page_of_the_common_form(name):
    config = CONFIGS[name]
    page = (Path(algorithms.__file__).parent / name.replace("-", "_") / "README.md").read_text()
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == FORM
    assert page.startswith(f"# {config.title}: ")
    assert f"<!-- generated: settings-{name} -->" in page and f"lad-rllib train --algorithm {name}" in page
    assert (config.name, config.title) == (name, names.ALGORITHMS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_help_and_completion_of_training_show_every_declared_hyperparameter_with_its_default(name):
    training, fields = CONFIGS[name].training, CONFIGS[name].hyperparameters.model_fields
    shown = dict(list(inspect.signature(training).parameters.items())[1:-1])
    assert {key: parameter.default for key, parameter in shown.items()} == {
        key: field.get_default() for key, field in fields.items()
    }
    for key, field in fields.items():
        assert field.description and f"    {key}: {' '.join(field.description.split())}" in training.__doc__, key
