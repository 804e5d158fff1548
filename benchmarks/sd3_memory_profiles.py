"""Memory and speed of Stable Diffusion 3 medium on a GPU, by memory profile, with random weights: nothing downloaded.

Neither depends on the values of the weights. Writes a pipeline of the published sizes once (15 GB; --folder), then
measures each profile in a process of its own: peak device memory, seconds per denoising step, overhead of an image.

python -m benchmarks.sd3_memory_profiles --folder /data/sd3-random              full, no_t5 and model_offload
python -m benchmarks.sd3_memory_profiles --model embedded --device cpu --profiles full no_t5   any other pipeline
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.memory_table import build_models
from lad_rllib.edge import MEMORY_PROFILES, DiffusersEngine, EdgeServer, embedded_model_path, fit_delay
from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError

PROFILES = ("full", "no_t5", "model_offload")
STEP_COUNTS = (4, 8, 16)


def main() -> int:
    """Measure the profiles that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to keep the pipeline of random weights; made if absent")
    parser.add_argument("--model", help="folder or hub name of a pipeline to measure instead, or 'embedded'")
    parser.add_argument("--profiles", nargs="+", choices=tuple(MEMORY_PROFILES), default=PROFILES, metavar="NAME")
    parser.add_argument("--device", default="cuda", help="torch device (default: cuda)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the image (default: the model's; SD3: 512)")
    parser.add_argument("--output", type=Path, help="write the table as Markdown here, too")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # this process measures one profile
    parsed = parser.parse_args()
    try:
        if parsed.one:
            print(json.dumps(measure(parsed.model, parsed.profiles[0], parsed.device, parsed.size)))
            return 0
        model, size = _model(parsed)
        rows = {name: _measure_apart(model, name, parsed.device, size) for name in parsed.profiles}
    except (ConfigurationError, EdgeError) as error:
        print(f"sd3_memory_profiles: {error}", file=sys.stderr)
        return 2
    table = as_markdown(rows)
    print(table)
    if parsed.output:
        parsed.output.write_text(table + "\n", encoding="utf-8")
    return 0


def _model(parsed: argparse.Namespace) -> tuple[str, int | None]:
    """The pipeline to measure, and the side of its images [pixel]."""
    import torch

    if parsed.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError("torch finds no GPU here; run this on a machine with one, or give --device cpu")
    if parsed.model:
        return str(embedded_model_path()) if parsed.model == "embedded" else parsed.model, parsed.size
    if parsed.folder is None:
        raise ConfigurationError("give --folder for the pipeline of random weights (15 GB), or --model")
    if not (parsed.folder / "model_index.json").exists():
        print(f"writing random weights to {parsed.folder}", file=sys.stderr)
        save_random_pipeline(build_models(), parsed.folder)
    return str(parsed.folder), parsed.size or 512  # the size of the paper's prototype


def save_random_pipeline(models: Mapping[str, Any], folder: Path) -> None:
    """Write a ``StableDiffusion3Pipeline`` of such networks with random weights in half precision.

    Args:
        models: Networks by the names of ``memory_table.build_models``, on the meta device; emptied on the way.
        folder: Where to.
    """
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
    from transformers import T5Tokenizer

    generator = torch.Generator().manual_seed(0)
    for model in models.values():
        model.to(torch.float16).to_empty(device="cpu")
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.data.normal_(0.0, 0.02, generator=generator)
    clip = _clip_tokenizer()
    pipeline = StableDiffusion3Pipeline(
        transformer=models["MMDiT"],
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=models["VAE"],
        text_encoder=models["CLIP-L"],
        tokenizer=clip,
        text_encoder_2=models["OpenCLIP bigG"],
        tokenizer_2=clip,
        text_encoder_3=models["T5-XXL"],
        tokenizer_3=T5Tokenizer(),
    )
    pipeline.save_pretrained(folder)
    del pipeline
    gc.collect()


def _clip_tokenizer() -> Any:
    """A tokenizer whose words are letters; the encoder's time does not depend on which words they are."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def _measure_apart(model: str, profile: str, device: str, size: int | None) -> dict[str, float] | str:
    """Measure in a process of its own, so that one profile's memory is not another's; else the reason why not."""
    command = [sys.executable, "-m", "benchmarks.sd3_memory_profiles", "--one", "--model", model]
    command += ["--profiles", profile, "--device", device, *(["--size", str(size)] if size else [])]
    print(f"measuring {profile}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it left no message"]
        return lines[-1].removeprefix("sd3_memory_profiles: ")
    row: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def measure(model: str, profile: str, device: str, size: int | None) -> dict[str, float]:
    """Peak memory [MiB], seconds per step and overhead [s] of a pipeline, by a line through three step counts."""
    engine = DiffusersEngine(model, device=device, memory_profile=profile, width=size, height=size)
    with EdgeServer("gpu", engine) as server:
        tasks = [ImageTask(f"{i}-{n}", "a grey cat", n) for i in range(2) for n in STEP_COUNTS]
        records = [server.generate(task).record for task in tasks]
    fit = fit_delay([record.steps_done for record in records], [record.computing_s for record in records])
    peaks = [record.peak_memory_mib for record in records if record.peak_memory_mib is not None]
    return {
        "peak_memory_mib": max(peaks, default=float("nan")),
        "per_step_s": fit.per_step_s,
        "overhead_s": fit.overhead_s,
        "residual_sd_s": fit.residual_sd_s,
    }


def as_markdown(rows: Mapping[str, dict[str, float] | str]) -> str:
    """The table of the docs."""
    lines = [
        "| memory profile | peak device memory, GiB | s per step | overhead, s | residual sd, s |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if isinstance(row, str):
            lines.append(f"| `{name}` | not run: {row} | | | |")
        else:
            lines.append(
                f"| `{name}` | {row['peak_memory_mib'] / 1024:.2f} | {row['per_step_s']:.4f} | "
                f"{row['overhead_s']:.3f} | {row['residual_sd_s']:.4f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
