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
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lad_rllib.edge.embedded import embedded_model_path  # noqa: E402

ITERATIONS = 4000
STEPS = (1, 2, 4, 8, 15, 30)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if importlib.util.find_spec("sklearn") is None:
        print("error: scikit-learn is missing; pip install 'lad-rllib[embedded-model]'", file=sys.stderr)
        return 1
    quiet()
    torch.set_num_threads(1)  # the networks are small, and results must not depend on the number of threads
    return options.command(options)


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
    train.add_argument("--smoke", action="store_true", help="a few iterations on little data: does it run?")
    train.set_defaults(command=run_training)
    evaluate = commands.add_parser("evaluate", help="quality against denoising steps, and a picture of samples")
    evaluate.add_argument("--model", type=Path, default=embedded_model_path(), help="default: the embedded model")
    evaluate.add_argument("--steps", type=int, nargs="+", default=STEPS, help="denoising steps (default: %(default)s)")
    evaluate.add_argument("--guidance", type=float, default=2.0, help="classifier-free guidance (default: 2)")
    evaluate.add_argument("--pictures", type=int, default=1400, help="generated for each row (default: %(default)s)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the real pictures (default: 0)")
    evaluate.add_argument(
        "--output",
        type=Path,
        default=ROOT / "experiments" / "results" / "embedded_model_quality.csv",
        help="table (default: experiments/results/embedded_model_quality.csv)",
    )
    evaluate.add_argument("--samples", type=Path, help="picture (default: samples.png in the model's folder)")
    evaluate.add_argument("--smoke", action="store_true", help="two rows of few pictures: does it run?")
    evaluate.set_defaults(command=run_evaluation)
    options = parser.parse_args(arguments)
    smallest = [options.iterations] if options.command is run_training else [*options.steps, options.pictures]
    if min(smallest) < 1:
        parser.error("--iterations, --steps and --pictures must be at least 1")
    return options


def run_training(options: argparse.Namespace) -> int:
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import save
    from experiments.embedded.training import TrainingSettings, train

    if (options.output / "model_index.json").exists() and not options.overwrite:
        print(f"error: {options.output} holds a model; add --overwrite to replace it", file=sys.stderr)
        return 1
    settings = TrainingSettings(seed=options.seed, iterations=options.iterations)
    if options.smoke:
        settings = replace(settings, iterations=4, batch_size=8, prompts_per_kind=4)
    progress = TrainingProgress(settings.iterations)
    pipeline = train(settings, load_digits()[0], progress)
    save(pipeline, options.output)
    size_mb = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file()) / 1e6
    print(f"{options.output}: {size_mb:.2f} MB, {progress.seconds():.0f} s of processor time")
    return 0


class TrainingProgress:
    """Prints twenty lines over a training run."""

    def __init__(self, iterations: int) -> None:
        self.iterations, self.started, self.losses = iterations, time.process_time(), []

    def seconds(self) -> float:
        return time.process_time() - self.started

    def __call__(self, iteration: int, loss: float) -> None:
        self.losses.append(loss)
        if iteration == self.iterations or iteration % max(1, self.iterations // 20) == 0:
            mean = sum(self.losses) / len(self.losses)
            print(f"iteration {iteration:5d}/{self.iterations}  loss {mean:.4f}  {self.seconds():5.0f} s", flush=True)
            self.losses.clear()


def run_evaluation(options: argparse.Namespace) -> int:
    from experiments.embedded.pictures import load_digits
    from experiments.embedded.pipeline import load
    from experiments.embedded.quality import quality_rows
    from experiments.embedded.sample_grid import save_sample_grid

    if not (options.model / "model_index.json").exists():
        print(f"error: no model in {options.model}; train one first", file=sys.stderr)
        return 1
    pipeline = load(options.model)
    steps, count, reference_count = options.steps, options.pictures, min(options.pictures, 350)
    if options.smoke:
        steps, count, reference_count = (1, 2), 20, 10
    table = []
    for row in quality_rows(
        pipeline,
        load_digits(),
        steps,
        guidance=options.guidance,
        count=count,
        reference_count=reference_count,
        seed=options.seed,
    ):
        table.append(row)
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(table).convert_dtypes()
    frame.round(4).to_csv(options.output, index=False)
    samples = options.samples or options.model / "samples.png"
    save_sample_grid(pipeline, samples, options.guidance)
    print(f"{options.output}, {samples}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
