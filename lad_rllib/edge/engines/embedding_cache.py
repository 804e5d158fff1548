"""Embeddings of prompts seen before: the empty negative prompt comes with every image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class EmbeddingCache(Generic[Value]):
    """The latest results of an expensive function, at most ``size`` of them; 0 keeps none.

    >>> cache = EmbeddingCache(1)
    >>> [cache.get(word, str.upper) for word in ("a", "a", "b")], cache.hits
    (['A', 'A', 'B'], 1)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = self.misses = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[..., Value]) -> Value:
        """The value for a key, made by ``make(key)`` if it is not there."""
        if key in self._values:
            self.hits += 1
            self._values.move_to_end(key)
            return self._values[key]
        self.misses += 1
        value = make(key)
        if self.size > 0:
            self._values[key] = value
            while len(self._values) > self.size:
                self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)
