"""The HTTP API of a running service: OpenAI's images in front of a dispatcher; knows nothing of Ray."""

from importlib.util import find_spec

from lad_rllib.errors import ConfigurationError

if find_spec("fastapi") is None:
    raise ConfigurationError("the HTTP API needs FastAPI; install it by: pip install 'lad-rllib[serve]'")

from lad_rllib.api.app import make_app
from lad_rllib.api.control import Control, ServerInfo
from lad_rllib.api.gateway import Gateway
from lad_rllib.api.origin import current_origin
from lad_rllib.api.settings import ApiSettings

__all__ = ["ApiSettings", "Control", "Gateway", "ServerInfo", "current_origin", "make_app"]
