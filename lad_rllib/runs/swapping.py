"""Tell a running service who is to decide from now on."""

from __future__ import annotations

import os

from lad_rllib.edge.errors import ServerUnavailable, one_line
from lad_rllib.errors import ConfigurationError

TIMEOUT_S = 60.0
"""Longest wait for the service [s]; it loads the policy, and warms it up."""


def swap_policy(url: str, policy: str, key_env: str | None = None) -> str:
    """Have a service decide by another policy: one ``PUT /v1/fleet/policy``.

    Args:
        url: Address of the service.
        policy: Folder of a checkpoint on the service's machine, or a scheduler's name.
        key_env: Environment variable that holds the service's admin key; None: it asks for none.

    Returns:
        What decides now, as the service says.

    Raises:
        ConfigurationError: if the service refuses, or the key is not in the environment.
        ServerUnavailable: if it does not answer.
    """
    import httpx

    headers = {}
    if key_env is not None:
        if not (key := os.environ.get(key_env, "").strip()):
            raise ConfigurationError(f"--key-env names {key_env}, which is not in the environment; set it to the key")
        headers["Authorization"] = f"Bearer {key}"
    try:
        with httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.put(f"{url.rstrip('/')}/v1/fleet/policy", json={"policy": policy})
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ServerUnavailable(f"the service at {url} does not answer ({one_line(error)})") from error
    if answer.status_code >= 300:
        said = " ".join(answer.text.split())[:200]
        raise ConfigurationError(f"the service at {url} refuses the new policy ({answer.status_code}): {said}")
    return str(answer.json()["policy"])
