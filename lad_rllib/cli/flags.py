"""Flags of the command line, made of declared options: names, types, choices, defaults and help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from lad_rllib.cli.parsing import GIVEN, CommandParser
from lad_rllib.declared import declared
from lad_rllib.errors import ConfigurationError
from lad_rllib.reference import FieldReference, fields_of
from lad_rllib.runs.options import Options, flag

Group = TypeVar("Group", bound=Options)
SMOKE = "smoke values"
"""Where parsed arguments hold what ``--smoke`` sets; no option can have this name."""


def add_options(parser: argparse.ArgumentParser, options: type[Options], **smoke: Any) -> None:
    """Add a flag for each option, in the groups that the options were declared in, and ``--smoke``.

    Args:
        parser: The parser.
        options: What is declared.
        smoke: Small values of options, which ``--smoke`` sets where the user gives none; none: there is no ``--smoke``.
    """
    sections: dict[str, Any] = {}
    for field in fields_of(options):
        title, extra = _title(options, field.name), options.model_fields[field.name].json_schema_extra
        assert isinstance(extra, dict)
        section = sections.setdefault(title, parser.add_argument_group(title))
        section.add_argument(*_words(field, extra), **_argument(field, extra))
    if smoke:
        same = ", ".join(_meaning(name, value) for name, value in smoke.items())
        text = f"does it run? The same as {same}, where they are not given"
        parser.add_argument("--smoke", dest=SMOKE, action="store_const", const=smoke, default={}, help=text)


def read(options: type[Group], parsed: argparse.Namespace) -> Group:
    """The options that parsed arguments hold.

    Raises:
        ConfigurationError: names the first flag that does not fit, its value, and what is valid.
    """
    values = {name: getattr(parsed, name) for name in options.model_fields if hasattr(parsed, name)}
    given = getattr(parsed, GIVEN, values.keys()) & options.model_fields.keys()
    values |= {name: value for name, value in getattr(parsed, SMOKE, {}).items() if name not in given}
    try:
        checked = declared(options, values)
    except ConfigurationError as error:
        name, _, problem = str(error).partition(" ")
        field, bracket, index = name.partition("[")
        if field not in values:
            raise
        problem = problem.replace(" or null, got ", ", got ")  # a flag is left out instead
        raise ConfigurationError(f"{flag(field)}{bracket}{index} {problem}") from None
    fields = dict(iter(checked))  # dict alone takes an object with a field "keys" for a mapping
    return options.model_construct(_fields_set=set(given), **fields)


def parse(options: type[Group], arguments: Sequence[str] | None, description: str | None, **smoke: Any) -> Group:
    """The options of a program of its own, from its command line; a mistake in the words ends the program.

    Raises:
        ConfigurationError: as :func:`read`.
    """
    parser = CommandParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, options, **smoke)
    return read(options, parser.parse_args(arguments))


def _title(options: type[Options], name: str) -> str:
    """Heading of an option: that of the first class that declared it."""
    groups = [group for group in options.__mro__ if issubclass(group, Options)]
    return next(group.title for group in reversed(groups) if name in group.__dict__.get("__annotations__", {}))


def _words(field: FieldReference, extra: Mapping[str, Any]) -> list[str]:
    return [field.name] if extra["positional"] else [flag(field.name)]


def _argument(field: FieldReference, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What argparse is told of an option."""
    if field.type is bool:
        return {"action": "store_true", "help": _help(field)}
    argument: dict[str, Any] = {"default": field.default, "help": _help(field), "metavar": extra["metavar"]}
    if field.choices:
        argument["choices"] = field.choices
    else:
        argument["type"] = None if field.type is str else field.type
    if field.is_list:
        if isinstance(extra["metavar"], tuple):  # so many that belong together: the last ones count
            argument["nargs"] = len(extra["metavar"])
        else:
            argument["nargs"], argument["action"] = "*" if extra["may_be_empty"] else "+", _Several
    elif extra["positional"]:
        argument["nargs"] = "?"
    return argument


class _Several(argparse.Action):
    """Takes the values of a list; those of a flag that stands several times are taken together."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        is_first = not isinstance(before, list) or before is self.default
        setattr(namespace, self.dest, [*([] if is_first else before), *values])


def _help(field: FieldReference) -> str:
    """Help of an option, with its default value if it has one."""
    text, default = field.help, field.default
    if default is not None and not isinstance(default, bool):
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text += f" (default: {shown:g})" if isinstance(shown, float) else f" (default: {shown})"
    return text.replace("%", "%%")


def _meaning(name: str, value: Any) -> str:
    return flag(name) if value is True else f"{flag(name)} {_shown(value)}"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
