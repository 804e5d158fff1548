"""Tells those who watch which requests come, where they go and why, and what becomes of them."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lad_rllib.api.feed import Feed
from lad_rllib.api.jobs import Job
from lad_rllib.api.pictures import Pictures
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher

SHOWN_S, SHOWN_SIDE = 60.0, 256
"""How long an image is kept for those who watch [s], and its longest side then [pixel]."""

_LOG = logging.getLogger("lad_rllib.api")


class Teller:
    """Publishes the events ``request`` and ``done``, from a thread of its own, and only while somebody watches.

    Args:
        dispatcher: Knows where requests are.
        feed: Where events go.
        pictures: Keeps small images for those who watch; None: they get none.
    """

    def __init__(self, dispatcher: Dispatcher, feed: Feed, pictures: Pictures | None) -> None:
        self._dispatcher, self._feed, self._pictures = dispatcher, feed, pictures
        self._thread = ThreadPoolExecutor(1, "api-events")

    def came(self, job: Job) -> None:
        """A request was let in."""
        if self._feed.is_watched:
            self._do(lambda: self._tell_request(job))

    def ended(self, delivery: Delivery) -> None:
        """A request has ended."""
        if self._feed.is_watched:
            self._do(lambda: self._tell_done(delivery))

    def close(self) -> None:
        """Tell nothing more."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _do(self, tell: Callable[[], None]) -> None:
        try:
            self._thread.submit(_guarded, tell)
        except RuntimeError:  # it is shut down
            _LOG.debug("the gateway is closed; an event was not told")

    def _tell_request(self, job: Job) -> None:
        task, prediction = job.task, job.prediction
        server = self._dispatcher.progress(job.name).server or (job.delivery.server if job.delivery else "")
        told = {
            "id": job.name,
            "t": round(job.created, 3),
            "station": task.station,
            "steps": task.denoising_steps,
            "size": f"{task.width}x{task.height}" if task.width else "",
            "model": task.model or "",
            "server": server,
            "predicted_s": prediction.by_server(prediction.delay_s),
            "added_s": prediction.by_server(prediction.added_s),
            "why": prediction.why(server),
        }
        self._feed.publish("request", told)

    def _tell_done(self, delivery: Delivery) -> None:
        record, error = delivery.record, delivery.error
        told = {
            "id": delivery.task.task_id,
            "t": round(time.time(), 3),
            "server": delivery.server,
            "delay_s": round(delivery.service_delay_s, 4),
            "waiting_s": round(record.waiting_s, 4) if record else None,
            "attempts": delivery.attempts,
            "thumb": self._thumb(delivery.png),
            "error": error.name if error else None,
        }
        self._feed.publish("done", told)

    def _thumb(self, png: bytes | None) -> str | None:
        """Path of a small copy of an image."""
        if png is None or self._pictures is None:
            return None
        return f"/v1/images/{self._pictures.keep(small(png), SHOWN_S)}/content"


def small(png: bytes) -> bytes:
    """A copy of an image with no side longer than :data:`SHOWN_SIDE`; the image itself if it is small already."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        if max(image.size) <= SHOWN_SIDE:
            return png
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


def _guarded(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception:  # an image that cannot be read, a dispatcher that is closed
        _LOG.exception("an event was not told; the service goes on")
