"""A fleet as a world of requests one by one: service models that are fitted to images of several sizes."""

import numpy as np
import pandas as pd
import pytest

from lad_rllib.edge import DelayFit, EngineDescription
from lad_rllib.fleet import load_fleet
from lad_rllib.fleet.requests import request_spec, service_of_fit, service_of_images, services_of
from lad_rllib.simulator.requests import LinearService, build_request_setting
from tests.envs.live_fleets import FLEET, PER_STEP_S

ENGINE = EngineDescription("emulated", "device", "cpu", "none", "none", 256, 256, guided=False)


def images(service, sizes, steps=(4, 10, 20)):
    """Exact images of a service model, without guidance."""
    rows = [(n, w, h) for w, h in sizes for n in steps]
    table = pd.DataFrame(rows, columns=["denoising_steps", "width", "height"])
    grown = (table["width"] * table["height"] / 512**2) ** service.pixel_exponent
    return table.assign(computing_s=service.overhead_s + service.per_step_s * table["denoising_steps"] * grown)


def test_images_of_several_sizes_tell_the_growth_with_pixels():
    planted = LinearService(overhead_s=0.4, per_step_s=0.1, pixel_exponent=1.3, guidance_factor=1.0)
    found = service_of_images(images(planted, [(256, 256), (512, 512), (1024, 512)]), ENGINE)
    assert found.overhead_s == pytest.approx(0.4, rel=1e-3) and found.per_step_s == pytest.approx(0.1, rel=1e-3)
    assert found.pixel_exponent == pytest.approx(1.3, rel=1e-3) and found.spread == pytest.approx(0.0, abs=1e-3)


def test_a_line_of_one_size_predicts_that_size():
    service = service_of_fit(DelayFit(0.4, 0.1), ENGINE)
    pixels = 256 * 256 / 512**2
    guided = service.guidance_factor if ENGINE.guided else 1.0
    assert service.per_step_s * pixels**service.pixel_exponent * guided == pytest.approx(0.1)


def test_the_setting_of_a_fleet_is_read_back_with_its_services_and_is_of_no_other_fleet():
    spec = load_fleet(FLEET | {"order": "aged:service_weight=3"})
    services = [LinearService(per_step_s=one) for one in PER_STEP_S]
    setting = build_request_setting(request_spec(spec, services, [ENGINE] * 2, name="two", mix="vllm-omni"))
    assert services_of(setting, spec) == services
    assert setting.world.order.service_weight == 3 and setting.load == pytest.approx(0.7)
    assert set(setting.draw(np.random.default_rng(0)).width.tolist()) == {512, 768, 1024, 1536}
    renamed = load_fleet(FLEET | {"servers": [server | {"name": f"x{server['name']}"} for server in FLEET["servers"]]})
    assert services_of(setting, renamed) is None
