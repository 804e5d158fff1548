"""Learn with LAD-Dispatch in this process, from a policy or anew; no Ray is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.run_folder import newest_policy
from lad_rllib.simulator.order import order_text
from lad_rllib.simulator.requests import RequestSetting

CURVE = "learning.csv"
"""The curve: a row for each iteration."""


def fine_tune(
    start: str | Path | None,
    setting: RequestSetting,
    folder: Path,
    seed: int,
    on_iteration: Callable[[dict[str, Any]], None] = lambda row: None,
    **changes: Any,
) -> Path:
    """Learn, and write the new policy, which every command takes as a checkpoint.

    Args:
        start: Checkpoint or shipped policy of LAD-Dispatch that learning begins with; None: it begins anew.
        setting: What it learns in.
        folder: Gets the policy and the curve; made if it is not there.
        seed: Seed of episodes and minibatches.
        on_iteration: Called with each row of the curve.
        **changes: Hyperparameters that are other than usual; what is the policy's own is as in its file, see
            :func:`~lad_rllib.algorithms.common.hyperparameters.of_policy`.

    Returns:
        The folder.

    Raises:
        ConfigurationError: if it starts with a policy that decides slot by slot, or a hyperparameter is out of range.
    """
    from lad_rllib.algorithms.common.hyperparameters import of_policy
    from lad_rllib.algorithms.common.policy_file import FOLDER  # loads torch
    from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
    from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy, dispatch_policy_files
    from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn

    saved = None if start is None else newest_policy(start)
    if not isinstance(saved, SavedDispatchPolicy | None):
        raise ConfigurationError(f"the policy of {start} decides slot by slot; give one of lad-dispatch")
    kept = {} if saved is None else of_policy(LADDispatchHyperparameters, saved.hyperparameters)
    settings = LADDispatchHyperparameters(**kept | changes)
    state = Improvement(settings, seed)
    if saved is not None:
        state.start_from(saved)
    actor, curve = learn(setting, settings, seed, lambda _, row: on_iteration(row), state=state)
    orders = [order_text(setting.world.order)]
    files = dispatch_policy_files(settings, actor.packed(), state.seen, setting.spec, orders)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        durable.write_file(folder / FOLDER / name, content)
    durable.write_file(folder / CURVE, pd.DataFrame(curve).to_csv(index=False))
    return folder
