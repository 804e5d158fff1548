"""Every training run leaves TensorBoard's files, and reports to MLflow or Weights & Biases if it is asked to."""

import importlib.util
import sys

import pandas as pd
import pytest

from lad_rllib import names
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import train
from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.output_folder import release_folders
from lad_rllib.runs.tracking import track_callbacks


@pytest.fixture
def trained(no_cluster, monkeypatch, tmp_path):
    """Trains for two episodes in this process; returns the folder of the run."""
    monkeypatch.setattr(train, "start_ray", lambda *_, **__: None)

    def run(**options):
        options = {"setting": "small", "episodes": 2, "output": str(tmp_path / "run"), "quiet": True} | options
        try:
            return train.train(TrainOptions(**options)).folder
        finally:
            release_folders()

    return run


def scalars(folder):
    """TensorBoard's values by tag and step."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in folder.glob("events.out.tfevents.*"):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return found


def test_a_run_leaves_the_rows_of_its_table_as_tensorboard_files(trained):
    folder = trained()
    values = scalars(folder.tensorboard)
    for row in folder.progress().to_dict("records"):
        for name in (names.MEAN_DELAY, names.DELAY_OVER_ORACLE, "episodes"):
            assert values[f"ray/tune/{name}", row["iteration"]] == pytest.approx(row[name], rel=1e-6)


def test_a_run_that_replaces_another_one_replaces_its_tensorboard_files(trained):
    first = {path.name for path in trained().tensorboard.iterdir()}
    second = {path.name for path in trained(overwrite=True).tensorboard.iterdir()}
    assert len(first) == len(second) == 1


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_a_service_whose_package_is_missing_is_one_line_that_says_what_to_install(track, monkeypatch):
    monkeypatch.setitem(sys.modules, track, None)
    with pytest.raises(
        ConfigurationError, match=rf"--track {track} needs a package; pip install 'lad-rllib\[{track}\]'"
    ):
        track_callbacks(track, "test")


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="pip install 'lad-rllib[mlflow]'")
def test_mlflow_has_every_row_and_what_the_run_depends_on(trained, monkeypatch, tmp_path):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 prefers databases
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    folder = trained(track="mlflow", gamma=0.9)
    runs = mlflow.search_runs(search_all_experiments=True)
    (run,) = runs.to_dict("records")
    assert (run["params.algorithm"], run["params.gamma"], run["status"]) == ("lad-ts", "0.9", "FINISHED")
    history = mlflow.MlflowClient().get_metric_history(run["run_id"], names.MEAN_DELAY)
    expected = pd.Series([metric.value for metric in history])
    pd.testing.assert_series_equal(expected, folder.progress()[names.MEAN_DELAY], check_names=False)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="pip install 'lad-rllib[mlflow]'")
def test_an_mlflow_store_that_cannot_be_used_is_one_line():
    import mlflow

    mlflow.set_tracking_uri("nothing://there")
    with pytest.raises(ConfigurationError, match="^MLflow cannot use nothing://there: [^\n]*$"):
        track_callbacks("mlflow", "test")
