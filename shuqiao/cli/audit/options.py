"""Groups of options that several commands share: each a frozen dataclass whose fields are the options.

A command takes a group as a parameter of that type; `taking` puts the fields into the signature that typer
reads and hands them over as one value.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def taking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of each group among its parameters.

    Args:
        command: its parameters are options of its own, as typer reads them, and groups.
    """
    own = inspect.signature(command, eval_str=True)
    groups: Mapping[str, Any] = {
        name: parameter.annotation
        for name, parameter in own.parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        if name not in groups
    ]
    added = [parameter for group in groups.values() for parameter in _parameters(group)]

    @functools.wraps(command)
    def call(**arguments: Any) -> Any:
        told = {
            name: group(**{field.name: arguments.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**told, **arguments)

    parameters = [*kept, *added]
    read: Any = call
    # What is read is this signature, not the one that was wrapped.
    del read.__wrapped__
    read.__signature__ = own.replace(parameters=parameters)
    read.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = inspect.get_annotations(group, eval_str=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
