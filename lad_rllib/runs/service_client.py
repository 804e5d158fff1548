"""Asks a running service over HTTP, and changes it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.serve_options import KEY_VARIABLE

TIMEOUT_S = 900.0
"""Longest wait for an answer [s]: a server that joins loads its model first."""


class ServiceClient:
    """The fleet and the policy of a running service.

    Every method raises ``ConfigurationError`` if no service answers, or if it refuses.

    Args:
        url: Where the service listens.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def fleet(self) -> dict[str, Any]:
        """Servers, policy and figures."""
        return self._ask("GET", "/v1/fleet")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Start a server, described as in a fleet file."""
        self._ask("POST", "/v1/fleet/servers", entry)

    def drain(self, name: str) -> None:
        """Send a server nothing new."""
        self._ask("POST", f"/v1/fleet/servers/{quote(name, safe='')}/drain")

    def remove(self, name: str) -> None:
        """End a server."""
        self._ask("DELETE", f"/v1/fleet/servers/{quote(name, safe='')}")

    def swap(self, policy: str) -> str:
        """Let another policy decide; returns what decides now."""
        return str(self._ask("PUT", "/v1/fleet/policy", {"policy": policy})["policy"])

    def fleet_file(self) -> dict[str, Any]:
        """The fleet as in a fleet file."""
        return self._ask("GET", "/v1/fleet/file")

    def policies(self) -> dict[str, Any]:
        """Who decides, what is tried, and what became of policies."""
        return self._ask("GET", "/v1/fleet/policies")

    def try_policy(self, policy: str | None, why: str = "") -> dict[str, Any]:
        """Try a policy on live requests; None: record why none is tried."""
        return self._ask("POST", "/v1/fleet/trial", {"policy": policy, "why": why[:2000]})

    def stop_trial(self) -> dict[str, Any]:
        """End the trial; the policy in charge stays."""
        return self._ask("DELETE", "/v1/fleet/trial")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self._url + path, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except urllib.error.HTTPError as error:
            raise ConfigurationError(f"the service at {self._url} refuses: {_reason(error)}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ConfigurationError(
                f"no service answers at {self._url} ({reason}); start one with 'lad-rllib serve', or give its --url"
            ) from None


def _reason(error: urllib.error.HTTPError) -> str:
    """What an error says in OpenAI's form."""
    try:
        said = json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"
    hint = f"; set {KEY_VARIABLE} to a key with admin" if error.code in (401, 403) else ""
    return f"{said}{hint}"
