"""A small emulated fleet in this process, twenty times faster than the wall clock, and the setting of it."""

from lad_rllib.edge import DelayFit
from lad_rllib.fleet import FleetModel, load_fleet

PER_STEP_S = (0.1, 0.05)
FLEET = {
    "name": "two",
    "stations": 3,
    "time_scale": 0.05,
    "servers": [
        {
            "name": f"s{i}",
            "kind": "emulated",
            "profile": {"overhead_s": 0.2, "per_step_s": per_step_s, "jitter": 0.0},
            "make_png": False,
        }
        for i, per_step_s in enumerate(PER_STEP_S)
    ],
}


def setting(slots=5, load=1.2, **fields):
    """Settings dictionary of the fleet as its profiles have it."""
    spec = load_fleet(FLEET)
    model = FleetModel.from_fits(spec, [DelayFit(0.2, per_step_s) for per_step_s in PER_STEP_S], typical_steps=4)
    return model.spec("two", slots=slots, max_tasks=3, denoising_steps=(3, 5), load=load, **fields)


def env_config(**changes):
    """Configuration of a live environment on the fleet, in this process."""
    return {"fleet": FLEET, "setting": setting(), "in_process": True} | changes
