"""All that stands between HTTP and the dispatcher: admission, jobs, images that are kept, figures and events."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from lad_rllib.api.admission import Admission, Prediction
from lad_rllib.api.asking import TaskMaker
from lad_rllib.api.clients import Client, Rates
from lad_rllib.api.errors import ApiError, of_edge_error, unknown
from lad_rllib.api.feed import Feed
from lad_rllib.api.job_store import JobStore, SavedJob, time_left
from lad_rllib.api.jobs import Job, Jobs
from lad_rllib.api.origin import Origin, current_origin
from lad_rllib.api.pictures import Pictures
from lad_rllib.api.repeats import Repeats
from lad_rllib.api.settings import ApiSettings
from lad_rllib.api.shadow import Shadow
from lad_rllib.api.statistics import Statistics
from lad_rllib.api.telling import Teller
from lad_rllib.api.tracing import tell_refusal, tell_spans
from lad_rllib.api.wire import JobRequest
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.in_flight import TaskHandle

Observer = Callable[[Delivery], object]
"""Told of every delivery, from a thread of its own."""

RefusalObserver = Callable[[str], object]
"""Told of every request that was not let in, by the error's code."""

TOO_MUCH = 429
"""Status of the answer to a request that is not let in."""

FEW_S = 1.0
"""When to try again while too many requests are in flight [s]: one may have ended by then."""

CLOSED_S = 5.0
"""When to try again at a service that is shut down [s]: another may have taken its place."""

_LOG = logging.getLogger("lad_rllib.api")


class Gateway:
    """Takes requests for a dispatcher; close it before the dispatcher.

    Its coroutines may be awaited in any event loop. What may take a while is done in threads.

    Args:
        dispatcher: Serves the requests.
        settings: Limits and defaults.
        models: Names of the image models, the first for requests that name none; empty: clients need not and cannot
            choose.
        observers: Told of every delivery, such as a decision log; what they raise is logged.
        on_refusal: Told of every request that is not let in.

    Attributes:
        models: The image models; may be changed when servers join or leave.
        jobs: The requests on their way, and jobs that have ended.
        pictures: Images that are kept.
        statistics: Figures of the latest requests.
        feed: The feed of events.
        shadow: What other schedulers would have done.
        began: When it began [s since 1970].
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: ApiSettings,
        *,
        models: Sequence[str] = (),
        observers: Sequence[Observer] = (),
        on_refusal: RefusalObserver = lambda code: None,
    ) -> None:
        self.dispatcher, self.settings, self.models = dispatcher, settings, tuple(models)
        self.pictures = Pictures(settings.max_kept_bytes)
        self.jobs = Jobs(self.pictures, settings.job_s, settings.max_kept_jobs)
        self.statistics = Statistics(settings.slo_s, dispatcher.time_scale)
        self.shadow = Shadow(dispatcher, settings.slo_s, settings.requests_remembered)
        self.feed = Feed(settings.max_watchers)
        self.began = time.time()
        self._maker = TaskMaker(settings, dispatcher.network.num_stations)
        self._admission = Admission(dispatcher, settings)
        self._observers, self._on_refusal = tuple(observers), on_refusal
        self._rates, self._repeats = Rates(), Repeats()
        self._teller = Teller(dispatcher, self.feed, self.pictures if settings.show_images else None)
        self._is_closed = False
        self._desk = ThreadPoolExecutor(1, "api-jobs")
        self._aside = ThreadPoolExecutor(1, "api-observers")
        self._store = None if settings.jobs_file is None else JobStore(settings.jobs_file)
        if self._store is not None:
            self._store.forget_ended(time.time() - settings.job_s)
            for saved in self._store.saved():
                self._resume(saved)

    async def submit(self, asked: JobRequest, client: Client, *, is_job: bool = False, is_kept: bool = False) -> Job:
        """Let a request in and have it served.

        Args:
            asked: What is to be drawn.
            client: Who asks.
            is_job: Whether it goes on when nobody waits for it.
            is_kept: Whether it and its images are remembered after its end.

        Raises:
            ApiError: if it is refused: it is beyond a limit, would wait too long, or the service is closed.
        """
        task = self._maker.task(asked, f"img-{secrets.token_hex(12)}", client, self.models)
        origin = current_origin()
        origin.tasks.append(task.task_id)

        def admit() -> Future[Job]:
            created = time.time()  # before it is handed over, from when on the dispatcher counts its decision

            def begin(handle: TaskHandle, prediction: Prediction) -> Job:
                job = Job(task, client.name, handle, prediction, is_job, is_kept, created, origin=origin)
                self._begun(job, handle)
                return job

            try:
                return self._admission.admit(task, partial(self._check_quota, client), begin)
            except ConfigurationError:  # the dispatcher is closed
                raise _closed() from None

        is_saved = is_job and self._store is not None
        try:
            admitted = self._desk.submit(self._save_begun, admit) if is_saved else admit()
        except RuntimeError:  # it is shut down
            raise _closed() from None
        try:
            return await asyncio.wrap_future(admitted)
        except asyncio.CancelledError:
            if not is_job:
                admitted.add_done_callback(_cancel_admitted)
            raise
        except ApiError as error:
            if error.status_code == TOO_MUCH:
                self._refused(task, origin, error)
            raise

    async def submit_once(self, asked: JobRequest, client: Client, key: str, *, is_job: bool = False) -> Job:
        """As :meth:`submit`, but a request that comes again with the same key gets the job of the first.

        Args:
            asked: What is to be drawn.
            client: Who asks.
            key: The key, chosen by the client.
            is_job: Whether it goes on when nobody waits for it.

        Raises:
            ApiError: as :meth:`submit`, and if the key came with another request before.
        """
        first, is_first = self._repeats.first(client.name, key, f"{is_job} {asked.model_dump_json()}")
        if not is_first:
            job = await asyncio.shield(asyncio.wrap_future(first))
            current_origin().tasks.append(job.name)
            return job
        try:
            first.set_result(await self.submit(asked, client, is_job=is_job, is_kept=True))
        except BaseException as error:
            broken_off = ApiError(409, "the first request of this Idempotency-Key was broken off", "broken_off")
            first.set_exception(error if isinstance(error, ApiError) else broken_off)
            raise
        return first.result()

    async def finished(self, job: Job) -> tuple[Delivery, list[bytes]]:
        """What becomes of a job, and its images; one that is left by all who wait for it here is cancelled.

        Raises:
            ApiError: if it failed.
        """
        handle, delivery = job.handle, job.delivery
        if handle is not None:
            job.waiters += 1
            try:
                delivery = await asyncio.shield(asyncio.wrap_future(handle))
            finally:
                job.waiters -= 1
                if not (job.waiters or job.is_job or handle.done()):
                    job.cancel()
        assert delivery is not None  # a job without a handle has ended
        if delivery.error is not None:
            raise of_edge_error(delivery.error)
        if not job.pictures:
            return delivery, _pngs(delivery)
        kept = [png for name in job.pictures if (png := self.pictures.get(name)) is not None]
        if len(kept) < len(job.pictures):
            raise ApiError(404, f"the images of job {job.name} are not kept any more", "image_not_found")
        return delivery, kept

    def job(self, name: str, client: Client) -> Job:
        """A client's job.

        Raises:
            ApiError: if there is none of that id, or it is another client's.
        """
        job = self.jobs.get(name)
        if job is None or not job.is_job or job.owner != client.name:
            raise unknown("job", name[:80])
        return job

    def forget(self, job: Job) -> None:
        """Cancel a job if it has not ended, and forget it and its images."""
        job.cancel()
        self.jobs.forget(job)
        if self._store is not None:
            self._store.forget(job.name)

    def close(self) -> None:
        """Take no more requests, end the streams of events, and wait for the observers."""
        self._is_closed = True
        self._desk.shutdown(wait=True)
        self._teller.close()
        self.feed.close()
        self._aside.shutdown(wait=True)
        if self._store is not None:
            self._store.close()

    def _check_quota(self, client: Client) -> None:
        """Refuse what is too much at once, or too often for this client, and everything once this is closed."""
        if self._is_closed:
            raise _closed()
        if len(self.jobs) >= self.settings.max_in_flight:
            message = f"{len(self.jobs)} requests are in flight, as many as the service takes"
            raise ApiError(TOO_MUCH, message, "busy", retry_after_s=FEW_S)
        if client.open_requests is not None and self.jobs.open_of(client.name) >= client.open_requests:
            message = f"{client.open_requests} requests of {client.name} are in flight, as many as its key may have"
            raise ApiError(TOO_MUCH, message, "too_many_open", retry_after_s=FEW_S)
        wait_s = self._rates.take(client)
        if wait_s:
            message = f"the key of {client.name} may send {client.requests_per_minute:g} requests a minute"
            raise ApiError(TOO_MUCH, message, "rate_limit_exceeded", retry_after_s=wait_s)

    def _save_begun(self, admit: Callable[[], Future[Job]]) -> Job:
        """Let a job in, and write it down; work for a thread of its own."""
        job = admit().result()
        assert self._store is not None
        try:
            self._store.begin(job.task, job.owner, job.created)
        except ConfigurationError as error:
            job.cancel()
            raise ApiError(503, str(error), "job_not_kept", retry_after_s=FEW_S) from None
        return job

    def _refused(self, task: ImageTask, origin: Origin, error: ApiError) -> None:
        """A request is not let in."""
        self._on_refusal(error.code)
        tell_refusal(origin, error.code)
        said = {"task": task.task_id, "code": error.code, "reason": error.message}
        with origin.current():
            _LOG.info("request refused", extra={"request": said})

    def _resume(self, saved: SavedJob) -> None:
        """Go on with a job of the process before; one that has ended is remembered."""
        task = replace(saved.task, deadline_s=time_left(saved.task, saved.created))
        prediction = self._admission.predict(task)
        job = Job(task, saved.owner, None, prediction, is_job=True, is_kept=True, created=saved.created)
        if saved.delivery is None:
            [job.handle] = self.dispatcher.submit([task])
            self._begun(job, job.handle)
            return
        job.delivery, job.ended = saved.delivery, saved.ended
        job.pictures = tuple(self.pictures.keep(png, self.settings.job_s) for png in saved.pngs)
        self.jobs.end(job)

    def _begun(self, job: Job, handle: TaskHandle) -> None:
        """A job is on its way."""
        self.jobs.begin(job)
        self.statistics.came(job.prediction.fleet_s)
        self.shadow.came(job, handle)
        self._teller.came(job)
        handle.add_done_callback(lambda future: self._ended(job, future.result()))

    def _ended(self, job: Job, delivery: Delivery) -> None:
        """A job has ended; called before anyone who waits for it hears of it."""
        if job.is_kept:
            job.pictures = tuple(self.pictures.keep(png, self.settings.job_s) for png in _pngs(delivery))
        job.ended, job.delivery = time.time(), replace(delivery, png=None, more_pngs=())
        if job.is_kept:
            job.handle = None  # last: whoever finds none looks for the delivery
        self.jobs.end(job)
        self.statistics.ended(delivery)
        self.shadow.ended(delivery)
        self._teller.ended(delivery)
        try:
            self._aside.submit(self._note, job, delivery)
        except RuntimeError:  # it is shut down
            _LOG.debug("the gateway is closed; a delivery was not observed")

    def _note(self, job: Job, delivery: Delivery) -> None:
        """Write down and tell what has become of a job, beside the requests."""
        spans = partial(tell_spans, job, time_scale=self.dispatcher.time_scale)
        observers: list[Observer] = [partial(self._save, job), spans, *self._observers]
        with job.origin.current():
            for tell in observers:
                try:
                    tell(delivery)
                except Exception:
                    _LOG.exception("an observer of deliveries failed; the service goes on")

    def _save(self, job: Job, delivery: Delivery) -> None:
        if job.is_job and self._store is not None:
            self._store.end(delivery, job.ended or time.time(), _pngs(delivery))
            self._store.forget_ended(time.time() - self.settings.job_s)


def _pngs(delivery: Delivery) -> list[bytes]:
    return [png for png in (delivery.png, *delivery.more_pngs) if png is not None]


def _closed() -> ApiError:
    return ApiError(503, "the service is being shut down; try again later", "closed", retry_after_s=CLOSED_S)


def _cancel_admitted(admitted: Future[Job]) -> None:
    """Nobody waits for a request that is being let in."""
    if not admitted.cancelled() and admitted.exception() is None:
        admitted.result().cancel()
