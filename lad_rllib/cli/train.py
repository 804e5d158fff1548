"""``lad-rllib train``: prints what a training run says and leaves."""

from __future__ import annotations

from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.train import train


def run(options: TrainOptions) -> int:
    """Train; returns the exit status: 1 if most tasks of a live training failed."""
    trained = train(options, say=(lambda line: None) if options.quiet else print)
    if not options.quiet:
        print(trained.folder.closing_words(interrupted=trained.signal is not None))
    failures = trained.failed_tasks
    failures.report(quiet=options.quiet)
    if trained.signal is not None:
        return 128 + trained.signal
    return 1 if failures.are_most else 0
