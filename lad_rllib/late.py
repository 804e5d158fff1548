"""Names of a package whose modules are loaded when a name is first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def late_names(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """``__getattr__`` of a package whose ``__init__`` imports nothing heavy.

    Args:
        package: The package's ``__name__``.
        modules: Names, with spaces between them, by the module below the package that has them.

    >>> load = late_names("json", {"decoder": "JSONDecodeError JSONDecoder", "encoder": "JSONEncoder"})
    >>> load("JSONEncoder").__name__
    'JSONEncoder'
    >>> load("JSON")
    Traceback (most recent call last):
    AttributeError: module 'json' has no attribute 'JSON'
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
