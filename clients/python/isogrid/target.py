"""Objects by name. Each connection has numbers of its own for them."""

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple


class Target(NamedTuple):
    """An object: its kind, as ObjectKind in docs/OPERATIONS.md, and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.name!r}"


def with_numbers(value: Any, number: Callable[[Target], int]) -> Any:
    """The same with the number of its object for each Target."""
    if isinstance(value, Target):
        return number(value)
    if isinstance(value, Mapping):
        return {name: with_numbers(one, number) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_numbers(one, number) for one in value]
    return value
