"""What follows from a configuration is made once for each."""

from __future__ import annotations

from typing import cast

from monitor.config.loading import Configuration
from monitor.service.derived import Derived


def test_it_is_made_once_for_each_configuration_and_anew_for_the_next_even_if_that_says_the_same() -> None:
    in_force, made = [cast(Configuration, ["same"])], []

    def make(configuration: Configuration) -> int:
        made.append(configuration)
        return len(made)

    derived = Derived(lambda: in_force[0], make)
    assert made == [], "nothing is made before it is asked for"
    assert [derived(), derived()] == [1, 1]
    in_force[0] = cast(Configuration, ["same"])
    assert [derived(), derived()] == [2, 2]
