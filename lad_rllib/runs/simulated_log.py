"""Decision logs of services that are simulated: to see what would be learned from one before there is one."""

from __future__ import annotations

from pathlib import Path

from lad_rllib.edge import TaskRecord
from lad_rllib.service import DecisionLog, Delivery, RequestModel, tasks_of_requests
from lad_rllib.simulator.requests import RequestSetting, ServedRequests


def write_simulated_log(served: ServedRequests, setting: RequestSetting, folder: Path) -> None:
    """Write a simulated episode as the decision log of the service that it stands for.

    Args:
        served: How the requests were served.
        setting: Where.
        folder: Folder of the log, see :class:`~lad_rllib.service.DecisionLog`.
    """
    tasks = tasks_of_requests(served.requests, ["a cat"])
    model = RequestModel(setting.world, setting.history())
    with DecisionLog(folder, model=model, flush_s=3600.0) as log:
        for index, task in enumerate(tasks):
            waiting_s, computing_s = (float(part[index]) for part in (served.waiting_s, served.computing_s))
            delay_s, name = waiting_s + computing_s, setting.world.servers[served.server[index]].name
            record = TaskRecord(
                task_id=task.task_id,
                server=name,
                seed=task.seed,
                steps_asked=task.denoising_steps,
                cold_start=False,
                predicted_delay_s=float(served.predicted_delay_s[index]),
                upload_s=0.0,
                waiting_s=waiting_s,
                load_s=0.0,
                per_step_s=computing_s / task.denoising_steps,
                computing_s=computing_s,
                download_s=0.0,
                total_s=delay_s,
                started=0.0,
                finished=0.0,
                width=int(served.requests.width[index]),
                height=int(served.requests.height[index]),
                steps_done=task.denoising_steps,
                dtype="simulated",
            )
            arrival_s = float(served.requests.arrival_s[index])
            log(Delivery(task, index, name, 1, delay_s, record=record, arrival_s=arrival_s))
