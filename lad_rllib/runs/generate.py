"""Prompts in, images out, over a fleet of edge servers and by any scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lad_rllib import durable, names
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs import live, signals
from lad_rllib.runs.contact_sheet import save_contact_sheet
from lad_rllib.runs.fleet_options import GenerateOptions
from lad_rllib.runs.live_requests import check_options, live_requests
from lad_rllib.runs.options import flag
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import Delivery, Dispatcher, LiveRun, image_tasks, read_prompts, serve
from lad_rllib.simulator import sizes


@dataclass(frozen=True)
class GeneratedImages:
    """Images that are on disk.

    Attributes:
        folder: Where they are.
        run: What became of every task.
        title: Fleet, scheduler, order of service unless it is ``fifo``, number of tasks.
        simulated_mean_s: Mean delay that the simulator predicted, of requests one by one [s]; None: of none.
    """

    folder: ImageFolder
    run: LiveRun
    title: str
    simulated_mean_s: float | None = None


def generate(options: GenerateOptions) -> GeneratedImages:
    """Send prompts to a fleet, all at once or one by one, and keep each image as it comes.

    Raises:
        ConfigurationError: for options that contradict one another or do not go with the fleet.
        Interrupted: at a signal; the images that were there are kept.
    """
    prompts = read_prompts(options.prompts)
    number = len(prompts) if options.tasks is None else options.tasks
    sizes.check_fits(f"{number:,} tasks", number * sizes.IMAGE_TASK_BYTES, "--tasks")
    asked = check_options(options)
    one_by_one = asked is not None or options.load is not None or options.rate is not None
    decider = _decider(options, one_by_one)
    spec = load_fleet(options.fleet)
    decider.check_fleet(spec)
    tasks = [] if one_by_one else _together(options, prompts, number, spec.stations)
    folder = ImageFolder(writable_folder(options.output))
    folder.check_free(number, overwrite=options.overwrite)
    with live.open_fleet(options) as fleet:
        title = f"{spec.name}, {decider.title}{spec.order_note}: {number} tasks"
        requests = (
            live_requests(fleet, options, asked, decider, number) if one_by_one or decider.is_of_requests else None
        )
        model = live.fleet_model(fleet, decider.setting) if requests is None else requests.network
        starts_s, simulated_mean_s = None, None
        if requests is not None and one_by_one:
            tasks, starts_s = requests.tasks(prompts, options.deadline), requests.requests.arrival_s.tolist()
            title += f" one by one, load {requests.setting.load:.2f}"
            if isinstance(decider.scheduler, RequestScheduler):
                simulated_mean_s = requests.simulated_mean_s(decider.scheduler, options.seed)
        folder.begin()
        with decider.dispatcher(fleet, model, options.seed, requests.model if requests else None) as dispatcher:
            run = _serve(dispatcher, tasks, starts_s, folder)
        return GeneratedImages(folder, run, title, simulated_mean_s)


def _together(options: GenerateOptions, prompts: list[str], number: int, stations: int) -> list[ImageTask]:
    """Tasks that are all there at once."""
    return image_tasks(
        prompts,
        number,
        np.random.default_rng(options.seed),
        num_stations=stations,
        denoising_steps=(options.steps[0], options.steps[1]),
        size=(options.size[0], options.size[1]) if options.size else None,
        deadline_s=options.deadline,
    )


def _decider(options: GenerateOptions, one_by_one: bool) -> live.Decider:
    name = options.scheduler or (names.POLICY if options.checkpoint else "greedy-oracle")
    if name != names.POLICY:
        for option in ("checkpoint", "greedy_actions"):
            if getattr(options, option):
                raise ConfigurationError(f"{flag(option)} has no effect on scheduler {name}; leave one of the two out")
    return live.Decider(name, options.checkpoint, explore=not options.greedy_actions, one_by_one=one_by_one)


class ImageFolder:
    """Images as they come, and a table and a contact sheet of them.

    Args:
        path: An existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.images, self.table, self.contact_sheet = (
            path / "images",
            path / "deliveries.csv",
            path / "contact_sheet.png",
        )
        self._came: list[Delivery] = []

    def check_free(self, tasks: int, *, overwrite: bool) -> None:
        """Refuse to write over the files of so many tasks, unless that is wanted.

        Raises:
            ConfigurationError: names the first file that is there already.
        """
        for file in (self.table, self.contact_sheet, *(self._image(f"task-{number}") for number in range(tasks))):
            if file.exists() and not overwrite:
                raise ConfigurationError(f"{file} is there already; give --overwrite or another --output")

    def begin(self) -> None:
        """Remove what an earlier run has written: the images in its table, the table and the contact sheet."""
        self.images.mkdir(exist_ok=True)
        try:
            earlier = pd.read_csv(self.table, usecols=["task_id"], dtype=str)["task_id"].dropna()
        except (OSError, ValueError):  # there is none
            return
        for name in earlier[earlier.str.fullmatch(r"task-\d+")]:
            self._image(name).unlink(missing_ok=True)
        for file in (self.table, self.contact_sheet):
            file.unlink(missing_ok=True)

    def keep(self, delivery: Delivery) -> None:
        """Take a task's end; its image is on disk when this returns."""
        self._came.append(delivery)
        self._write_image(delivery)

    def finish(self) -> None:
        """Write the table and the contact sheet of what came, in the order of the tasks."""
        if not self._came:
            return
        self._write_image(self._came[-1])  # Ctrl-C may have cut it short
        came = sorted(self._came, key=lambda delivery: delivery.task.seed)
        durable.write_file(self.table, pd.DataFrame([delivery.to_dict() for delivery in came]).to_csv(index=False))
        save_contact_sheet(came, self.contact_sheet)

    def _write_image(self, delivery: Delivery) -> None:
        if delivery.png is not None:
            durable.write_file(self._image(delivery.task.task_id), delivery.png)

    def _image(self, task_id: str) -> Path:
        return self.images / f"{task_id}.png"


def _serve(
    dispatcher: Dispatcher, tasks: list[ImageTask], starts_s: list[float] | None, folder: ImageFolder
) -> LiveRun:
    """Serve all, at once or each when it comes; what came is in the folder also after an interruption."""
    try:
        with bars() as progress:
            bar = progress.add_task("images", total=len(tasks))

            def keep(delivery: Delivery) -> None:
                folder.keep(delivery)
                progress.advance(bar)

            slots = [tasks] if starts_s is None else [[task] for task in tasks]
            return serve(dispatcher, slots, on_delivery=keep, starts_s=starts_s)
    except signals.Interrupted as interruption:
        raise signals.Interrupted(interruption.number, "the images that were there are kept") from None
    finally:
        folder.finish()
