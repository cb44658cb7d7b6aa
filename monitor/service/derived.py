"""What follows from the configuration in force: made once for each, however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from monitor.config.loading import Configuration

T = TypeVar("T")


class Derived(Generic[T]):
    """Call it, and it returns what follows. Making that may be slow: an installation has thousands of contacts."""

    def __init__(self, configuration: Callable[[], Configuration], make: Callable[[Configuration], T]) -> None:
        """Have *configuration* return the one in force, and *make* what follows from one."""
        self._configuration = configuration
        self._make = make
        self._made: tuple[Configuration, T] | None = None

    def __call__(self) -> T:
        configuration = self._configuration()
        if self._made is None or self._made[0] is not configuration:
            self._made = configuration, self._make(configuration)
        return self._made[1]
