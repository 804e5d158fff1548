"""Train the text-to-image model that comes with the package, or measure its quality.

    python experiments/embedded_model.py train --output results/embedded_model
    python experiments/embedded_model.py evaluate --model results/embedded_model

Needs scikit-learn, which brings the digits along: pip install 'lad-rllib[embedded-model]'. No network, no GPU. The
model's card is lad_rllib/edge/embedded_model/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.edge.embedded import embedded_model_path  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs import cluster  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402
from lad_rllib.runs.options import RayOptions, StorageOptions  # noqa: E402
from lad_rllib.runs.rows import ResultRows  # noqa: E402
from lad_rllib.runs.storage import SharedCopy, Storage  # noqa: E402

ITERATIONS = 4000
STEPS = (1, 2, 4, 8, 15, 30)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if importlib.util.find_spec("sklearn") is None:
        print("error: scikit-learn is missing; pip install 'lad-rllib[embedded-model]'", file=sys.stderr)
        return 2
    return run_command(run, options)


def run(options: argparse.Namespace) -> int:
    """Train or evaluate, here or as a task of a cluster; returns the exit status."""
    print(f"writing to {options.output.resolve()}")
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
        Storage(options.storage_path).copy_out(options.output.name, options.output)
    return status


def _on_a_node(options: argparse.Namespace, root: str) -> int:
    """The work, on whatever node Ray has chosen; a task that is tried again goes on from the state on storage."""
    sys.path.insert(0, root)
    options.resume = True
    with tempfile.TemporaryDirectory() as folder:
        options.output = Path(folder) / options.output.name
        return work(options)


def work(options: argparse.Namespace) -> int:
    """Train or evaluate in this process."""
    quiet()
    torch.set_num_threads(1)  # the networks are small, and results must not depend on the number of threads
    options.output.mkdir(parents=True, exist_ok=True)
    copy = SharedCopy(options.output, options.storage_path)
    if options.resume:
        copy.fetch()
    status: int = options.action(options, copy)
    copy.push()
    return status


def quiet() -> None:
    """No progress bars and no advice from the libraries about what is meant to be so, as the missing T5."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train from scratch and write a diffusers pipeline folder")
    train.add_argument("--seed", type=int, default=0, help="same seed, same weights on one machine (default: 0)")
    train.add_argument("--iterations", type=int, default=ITERATIONS, help="optimiser steps (default: %(default)s)")
    train.add_argument("--output", type=Path, default=Path("results/embedded_model"), help="default: %(default)s")
    train.add_argument("--overwrite", action="store_true", help="replace a model that is there already")
    train.add_argument("--resume", action="store_true", help="go on with the training in the output folder or storage")
    train.set_defaults(action=run_training)
    evaluate = commands.add_parser("evaluate", help="quality against denoising steps, and a picture of samples")
    evaluate.add_argument("--model", type=Path, default=embedded_model_path(), help="default: the embedded model")
    evaluate.add_argument("--steps", type=int, nargs="+", default=STEPS, help="denoising steps (default: %(default)s)")
    evaluate.add_argument("--guidance", type=float, default=2.0, help="classifier-free guidance (default: 2)")
    evaluate.add_argument("--pictures", type=int, default=1400, help="generated for each row (default: %(default)s)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the real pictures (default: 0)")
    evaluate.add_argument(
        "--output",
        type=Path,
        default=Path("results/embedded_model_quality"),
        help="folder for embedded_model_quality.csv and samples.png (default: %(default)s)",
    )
    evaluate.add_argument("--resume", action="store_true", help="keep the rows that are there")
    evaluate.set_defaults(action=run_evaluation)
    for command in (train, evaluate):
        flags.add_options(command, RayOptions)
        flags.add_options(command, StorageOptions)
        command.add_argument("--smoke", action="store_true", help="on little data, few steps: does it run?")
    options = parser.parse_args(arguments)
    options.command = "embedded_model"
    smallest = [options.iterations] if options.action is run_training else [*options.steps, options.pictures]
    if min(smallest) < 1:
        parser.error("--iterations, --steps and --pictures must be at least 1")
    return options


def run_training(options: argparse.Namespace, copy: SharedCopy) -> int:
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import save
    from experiments.embedded.training import TrainingSettings, train

    output, state = options.output, options.output / "training_state.pt"
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
    return 0


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


def run_evaluation(options: argparse.Namespace, copy: SharedCopy) -> int:
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import load
    from experiments.embedded.quality import quality_rows
    from experiments.embedded.sample_grid import save_sample_grid

    if not (options.model / "model_index.json").exists():
        raise ConfigurationError(f"no model in {options.model}; train one first")
    pipeline = load(options.model)
    steps, count, reference_count = options.steps, options.pictures, min(options.pictures, 350)
    if options.smoke:
        steps, count, reference_count = (1, 2), 20, 10
    rows = ResultRows(options.output / "embedded_model_quality.csv", options.resume)
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
    save_sample_grid(pipeline, options.output / "samples.png", options.guidance)
    print(f"{options.output / 'embedded_model_quality.csv'}, {options.output / 'samples.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
