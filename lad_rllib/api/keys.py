"""API keys from a file: who may ask, how often, and who may change the service."""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
import time
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from lad_rllib.api.clients import Client
from lad_rllib.declared import Declared, Text, declared
from lad_rllib.edge.task import MAX_PRIORITY
from lad_rllib.errors import ConfigurationError
from lad_rllib.text_files import read_structured

MIN_KEY_CHARS = 20
"""Shortest key; ``openssl rand -hex 24`` makes one of 48 characters."""

LOOK_AGAIN_S = 1.0
"""Time between two looks whether the file has changed [s]."""

_LOG = logging.getLogger("lad_rllib.api")


class KeyFields(Declared):
    """An API key, and what its holder may do."""

    name: Annotated[Text, Field(max_length=100)]
    """Name of its holder, in logs and as tenant."""
    key: str | None = None
    """The key itself, of at least 20 characters; null: ``sha256`` tells it."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the key in hexadecimal digits, so that the file gives nothing away."""
    admin: bool = False
    """Whether its holder may change the service and watch its events."""
    requests_per_minute: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Images requests that its holder may send [1/min], a minute's worth at once; null: any number."""
    open_requests: Annotated[int, Field(ge=1)] | None = None
    """Requests of its holder that may be in flight at once; null: any number."""
    max_priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Greatest priority of its holder's requests."""

    @model_validator(mode="after")
    def _is_told_once(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError(f"the key of {self.name} must be told once: by key or by sha256")
        if self.key is not None and len(self.key) < MIN_KEY_CHARS:
            raise ValueError(f"the key of {self.name} is shorter than {MIN_KEY_CHARS} characters; make a longer one")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the key."""
        return _digest(self.key) if self.key is not None else str(self.sha256)

    def client(self) -> Client:
        """Its holder."""
        return Client(self.name, self.admin, self.max_priority, self.requests_per_minute, self.open_requests)


class KeysFile(Declared):
    """A file of API keys."""

    keys: Annotated[list[KeyFields], Field(min_length=1)]
    """The keys."""

    @model_validator(mode="after")
    def _all_differ(self) -> Self:
        for what in ("name", "digest"):
            values = [getattr(one, what) for one in self.keys]
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {what}; give each holder a name and a key of its own")
        return self


class KeyRing:
    """The keys of a file, read again when it changes; a change that cannot be read is logged, and the old keys hold.

    May be used from any thread.

    Args:
        path: A YAML or JSON file with the fields of :class:`KeysFile`.

    Raises:
        ConfigurationError: if it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stamp = self._changed()
        self._clients = self._read()

    def holder(self, key: str) -> Client | None:
        """Who has a key; None if nobody has. Takes equally long for every key of the same length."""
        self._look_again()
        digest, found = _digest(key), None
        for known, client in self._clients:
            if hmac.compare_digest(known, digest):
                found = client
        return found

    def _read(self) -> list[tuple[str, Client]]:
        where = f"{self._path}: "
        keys = declared(KeysFile, read_structured(self._path, "API keys"), where).keys
        return [(key.digest, key.client()) for key in keys]

    def _changed(self) -> tuple[int, int]:
        """What differs when the file has changed."""
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def _look_again(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked < LOOK_AGAIN_S:
                return
            self._looked = time.monotonic()
            if (stamp := self._changed()) == self._stamp:
                return
            self._stamp = stamp
            try:
                self._clients = self._read()
            except ConfigurationError as error:
                _LOG.error("the API keys stay as they were: %s", error)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
