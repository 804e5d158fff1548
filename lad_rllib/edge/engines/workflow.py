"""A workflow of ComfyUI whose values are placeholders for what a task asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lad_rllib.declared import shown
from lad_rllib.edge.errors import InvalidRequest
from lad_rllib.edge.task import ImageTask

PLACEHOLDERS = ("prompt", "negative_prompt", "steps", "seed", "width", "height", "guidance", "images", "model")
"""What a workflow may leave open."""

_NEEDED = ("prompt", "steps")
_WITH_DEFAULT = ("width", "height", "guidance", "model")
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")


class Workflow:
    """A graph of nodes in ComfyUI's API format (Workflow, Export (API)) with ``{{name}}`` where a task's values belong.

    A text that is nothing but a placeholder becomes the value itself, a number where it is one; within a longer text
    the value is written out.

    Args:
        graph: The nodes by their ids.

    Raises:
        ValueError: for a graph in another format, an unknown placeholder, or one that is missing.

    >>> workflow = Workflow({"3": {"class_type": "K", "inputs": {"steps": "{{steps}}", "text": "a photo, {{prompt}}"}}})
    >>> workflow.filled({"steps": 8, "prompt": "a cat"})["3"]["inputs"]
    {'steps': 8, 'text': 'a photo, a cat'}
    """

    def __init__(self, graph: Mapping[str, Any]) -> None:
        for node, content in graph.items():
            if not isinstance(content, Mapping) or "class_type" not in content:
                raise ValueError(
                    f"workflow: node {shown(node)} has no class_type; export it in ComfyUI by 'Export (API)'"
                )
        self._graph = graph
        self.asks = frozenset(_names(graph))
        """Names of its placeholders."""
        for name in sorted(self.asks - {*PLACEHOLDERS}):
            raise ValueError(f"workflow has {{{{{name}}}}}; choose from {', '.join(PLACEHOLDERS)}")
        for name in _NEEDED:
            if name not in self.asks:
                raise ValueError(f"workflow has no {{{{{name}}}}}; put it where the task's {name} belongs")

    def check_defaults(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings without a value for a placeholder that tasks need not fill.

        Raises:
            ValueError: naming the first one.
        """
        for name in _WITH_DEFAULT:
            if name in self.asks and settings.get(name) is None:
                raise ValueError(f"workflow has {{{{{name}}}}}; say {name} for tasks that name none")

    def check(self, task: ImageTask) -> None:
        """Refuse a task that asks for what the workflow leaves no place for.

        Raises:
            InvalidRequest: naming it.
        """
        asked = {
            "width": task.width is not None or task.height is not None,
            "guidance": task.guidance is not None,
            "negative_prompt": bool(task.negative_prompt),
            "images": task.images > 1,
            "model": task.model is not None,
        }
        for name, is_asked in asked.items():
            if is_asked and name not in self.asks:
                raise InvalidRequest(f"this server's workflow has no {{{{{name}}}}}; leave that out of the request")

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The graph with these values."""
        graph: dict[str, Any] = _filled(self._graph, values)
        return graph


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, (Mapping, list)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _names(inner)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    if whole := _PLACEHOLDER.fullmatch(value):
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)
