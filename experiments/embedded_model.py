"""Train the text-to-image model of the package, or measure its quality.

    python -m experiments.embedded_model train --output results/embedded_model
    python -m experiments.embedded_model evaluate --model results/embedded_model

Needs scikit-learn, which has the scans of digits: pip install 'lad-rllib[embedded-model]'. No network, no GPU. The
model's card is lad_rllib/edge/embedded_model/README.md.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from lad_rllib.cli.program import Program
from lad_rllib.edge.embedded import embedded_model_path
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster
from lad_rllib.runs.options import Count, RayOptions, Seed, StorageOptions, option
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.storage import SharedCopy, Storage

ROOT = Path(__file__).resolve().parents[1]


class ModelOptions(StorageOptions, RayOptions):
    """What training and evaluation share."""

    command: ClassVar[str] = "embedded_model"
    title = "model"

    seed: Seed = option(0, "seed; the same seed gives the same results on one machine")
    output: str = option("results", "output folder", "DIR")
    resume: bool = option(False, "go on with what is in the output folder or storage")
    smoke: bool = option(False, "little data, few steps: does it run?")


class TrainOptions(ModelOptions):
    """How the model is trained."""

    iterations: Count = option(4000, "optimiser steps")
    output: str = option("results/embedded_model", "output folder, a diffusers pipeline", "DIR")
    overwrite: bool = option(False, "replace a model that is there already")


class EvaluateOptions(ModelOptions):
    """On how many pictures the model is measured."""

    model: str = option(str(embedded_model_path()), "the model", "DIR")
    steps: Annotated[list[Count], Field(min_length=1)] = option([1, 2, 4, 8, 15, 30], "denoising steps", "N")
    guidance: float = option(2.0, "classifier-free guidance", "X")
    pictures: Count = option(1400, "pictures generated for each row", "N")
    output: str = option("results/embedded_model_quality", "folder for the table and the picture of samples", "DIR")


def run(options: ModelOptions) -> int:
    """Train or evaluate, here or as a task of a cluster; returns the exit status."""
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigurationError("scikit-learn is missing; pip install 'lad-rllib[embedded-model]'")
    print(f"writing to {Path(options.output).resolve()}")
    if not (options.address or options.wait_nodes):
        return work(options)
    if options.storage_path is None:
        raise ConfigurationError("on a cluster the results need a --storage-path that all nodes reach")
    import ray

    from lad_rllib.algorithms.common.resources import require_room

    cluster.start_ray(options, num_cpus=1)
    require_room([{"CPU": 1.0}])
    status: int = ray.get(ray.remote(num_cpus=1, max_retries=3)(_on_a_node).remote(options, str(ROOT)))
    if status == 0:
        Storage(options.storage_path).copy_out(Path(options.output).name, Path(options.output))
    return status


def _on_a_node(options: ModelOptions, root: str) -> int:
    """The work, on whatever node Ray has chosen; a task that is tried again goes on from the state on storage."""
    sys.path.insert(0, root)
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / Path(options.output).name)
        return work(options.model_copy(update={"resume": True, "output": output}))


def work(options: ModelOptions) -> int:
    """Train or evaluate in this process."""
    quiet()
    torch.set_num_threads(1)  # the networks are small, and results must not depend on the number of threads
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    copy = SharedCopy(output, options.storage_path)
    if options.resume:
        copy.fetch()
    if isinstance(options, TrainOptions):
        run_training(options, output, copy)
    else:
        run_evaluation(options, output, copy)
    copy.push()
    return 0


def quiet() -> None:
    """No progress bars and no advice from the libraries about what is meant to be so, as the missing T5."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def run_training(options: TrainOptions, output: Path, copy: SharedCopy) -> None:
    """Train from scratch, or go on, and write a diffusers pipeline folder."""
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import save
    from experiments.embedded.training import TrainingSettings, train

    state = output / "training_state.pt"
    if (output / "model_index.json").exists() and not options.overwrite:
        raise ConfigurationError(f"{output} holds a model; add --overwrite to replace it")
    settings = TrainingSettings(seed=options.seed, iterations=options.iterations)
    if options.smoke:
        settings = replace(settings, iterations=4, batch_size=8, prompts_per_kind=4)
    if not options.resume:
        state.unlink(missing_ok=True)
    progress = TrainingProgress(settings.iterations, copy)
    try:
        pipeline = train(settings, load_digits()[0], progress, state)
    except ValueError as error:
        raise ConfigurationError(f"{error}; leave --resume out to start anew") from None
    save(pipeline, output)
    size_mb = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 1e6
    print(f"{output}: {size_mb:.2f} MB, {progress.seconds():.0f} s of processor time")


class TrainingProgress:
    """Prints twenty lines over a training run, and copies its state to storage as often."""

    def __init__(self, iterations: int, copy: SharedCopy) -> None:
        self.iterations, self.copy, self.started, self.losses = iterations, copy, time.process_time(), []

    def seconds(self) -> float:
        return time.process_time() - self.started

    def __call__(self, iteration: int, loss: float) -> None:
        self.losses.append(loss)
        if iteration == self.iterations or iteration % max(1, self.iterations // 20) == 0:
            mean = sum(self.losses) / len(self.losses)
            print(f"iteration {iteration:5d}/{self.iterations}  loss {mean:.4f}  {self.seconds():5.0f} s", flush=True)
            self.losses.clear()
            self.copy.push()


def run_evaluation(options: Any, output: Path, copy: SharedCopy) -> None:
    """Quality against denoising steps, and a picture of samples."""
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import load
    from experiments.embedded.quality import quality_rows
    from experiments.embedded.sample_grid import save_sample_grid

    model = Path(options.model)
    if not (model / "model_index.json").exists():
        raise ConfigurationError(f"no model in {model}; train one first")
    pipeline = load(model)
    steps, count, reference_count = options.steps, options.pictures, min(options.pictures, 350)
    if options.smoke:
        steps, count, reference_count = [1, 2], 20, 10
    rows = ResultRows(output / "embedded_model_quality.csv", options.resume)
    for row in quality_rows(
        pipeline,
        load_digits(),
        [number for number in steps if not rows.has(denoising_steps=number)],
        guidance=options.guidance,
        count=count,
        reference_count=reference_count,
        seed=options.seed,
    ):
        if rows.has(pictures=row["pictures"]) and "denoising_steps" not in row:
            continue  # the real pictures, in a resumed run
        rows.add({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
        copy.push()
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    save_sample_grid(pipeline, output / "samples.png", options.guidance)
    print(f"{output / 'embedded_model_quality.csv'}, {output / 'samples.png'}")


TRAIN, EVALUATE = (Program(run, options, __doc__) for options in (TrainOptions, EvaluateOptions))


def main(words: Sequence[str] | None = None) -> int:
    """Train or evaluate, as the first word says; returns the exit status."""
    action, *others = (sys.argv[1:] if words is None else words) or [""]
    if action not in ("train", "evaluate"):
        print(__doc__, file=sys.stderr)
        return 2
    return (TRAIN if action == "train" else EVALUATE)(others)


if __name__ == "__main__":
    sys.exit(main())
