"""Metrics of runs for other tools: TensorBoard's files, and MLflow or Weights & Biases by Ray's own callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from lad_rllib.errors import ConfigurationError


def track_callbacks(track: str | None, project: str) -> list[LoggerCallback]:
    """Ray Tune's callbacks that report to a tracking service.

    Args:
        track: "mlflow", whose server or folder is MLFLOW_TRACKING_URI; "wandb"; or None.
        project: Name of the experiment or project there.

    Raises:
        ConfigurationError: if the service's package is not installed, or MLflow's server or store does not answer.
    """
    try:
        if track == "mlflow":
            import mlflow
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            _check_store(mlflow)
            return [MLflowLoggerCallback(tracking_uri=mlflow.get_tracking_uri(), experiment_name=project)]
        if track == "wandb":
            import wandb  # noqa: F401 - Ray's callback would complain only when it starts a process
            from ray.air.integrations.wandb import WandbLoggerCallback

            return [WandbLoggerCallback(project=project)]
    except ImportError:
        raise ConfigurationError(f"--track {track} needs a package; pip install 'lad-rllib[{track}]'") from None
    return []


def _check_store(mlflow: Any) -> None:
    """Refuse a server or store that does not answer, before anything is started."""
    try:
        mlflow.search_experiments(max_results=1)
    except mlflow.exceptions.MlflowException as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"MLflow cannot use {mlflow.get_tracking_uri()}: {reason}") from None


@dataclass(frozen=True, eq=False)
class _Run:
    """A training run in the shape of a Ray Tune trial, as far as the callbacks look at one."""

    name: str
    local_path: str
    config: dict[str, Any]

    @property
    def trial_id(self) -> str:
        return self.name

    @property
    def evaluated_params(self) -> dict[str, Any]:
        return self.config

    @property
    def experiment_dir_name(self) -> str:
        return self.name

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(exist_ok=True)

    def __str__(self) -> str:
        return self.name


class Tracker:
    """Reports the rows of one training run; a resumed run is a run of its own at a tracking service.

    Args:
        folder: Folder for TensorBoard's files.
        name: Name of the run.
        parameters: What it depends on, as plain values.
        track: See :func:`track_callbacks`.
    """

    def __init__(self, folder: Path, name: str, parameters: dict[str, Any], track: str | None) -> None:
        self._run = _Run(name, str(folder), parameters)
        self._callbacks = [TBXLoggerCallback(), *track_callbacks(track, "lad-rllib")]

    def __enter__(self) -> Tracker:
        for callback in self._callbacks:
            callback.setup()
            callback.log_trial_start(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for callback in self._callbacks:
            callback.log_trial_end(self._run, failed=error is not None)

    def report(self, row: dict[str, float]) -> None:
        """Report a row of ``progress.csv``."""
        for callback in self._callbacks:
            callback.log_trial_result(int(row["iteration"]), self._run, row | {"training_iteration": row["iteration"]})
