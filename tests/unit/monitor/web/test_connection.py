"""Who is admitted to a listener, and whose connection is closed for it."""

from __future__ import annotations

import pytest

from monitor.web.connection import Connection, ConnectionLimits, Connections, connection_limits


@pytest.mark.parametrize(
    ("descriptors", "total", "per_address"),
    [(64, 8, 2), (256, 32, 8), (1024, 128, 32), (16_384, 1024, 256), (1 << 20, 1024, 256), (10, 4, 1)],
)
def test_connection_limits_leave_three_quarters_of_the_descriptors(
    descriptors: int, total: int, per_address: int
) -> None:
    assert connection_limits(descriptors) == ConnectionLimits(total=total, per_address=per_address)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.20.0.5", ""),
        ("", ""),
    ],
)
def test_connections_origin_is_none_for_proxies_and_this_machine(address: str, origin: str) -> None:
    assert Connections(ConnectionLimits(total=8, per_address=2), ["10.20.0.0/24"]).origin(address) == origin


class Door:
    """A listener of four connections, two an address."""

    def __init__(self) -> None:
        self.connections = Connections(ConnectionLimits(total=4, per_address=2))
        self.closed: list[str] = []
        self.known: dict[str, Connection] = {}

    def come(self, name: str, *, asking: bool = True) -> bool:
        """Let "a1", from the address "a", come; return whether it is admitted."""
        self.known[name] = Connection(origin=name.rstrip("0123456789"), close=lambda: self.closed.append(name))
        admitted = self.connections.admit(self.known[name])
        self.connections.update(self.known[name], is_waiting_for_client=asking)
        return admitted


def test_connections_of_one_address_close_its_oldest_that_is_asking() -> None:
    door = Door()
    assert [door.come(each) for each in ("b1", "a1", "a2", "a3", "a4")] == [True] * 5
    assert (door.closed, door.connections.closed_count) == (["a1", "a2"], 2)


def test_connections_in_all_close_the_oldest_that_is_asking() -> None:
    door = Door()
    door.come("a1", asking=False)
    assert [door.come(each) for each in ("b1", "c1", "d1", "e1", "f1")] == [True] * 5
    assert door.closed == ["b1", "c1"], "who is being answered keeps the connection"


def test_connections_that_are_all_answered_admit_nobody_until_one_leaves() -> None:
    door = Door()
    for each in ("a1", "b1", "c1", "d1"):
        door.come(each, asking=False)
    assert not door.come("e1")
    assert (door.closed, door.connections.closed_count) == ([], 1)
    door.connections.remove(door.known["a1"])
    door.connections.remove(door.known["a1"])
    assert door.come("f1")


def test_connections_that_ask_again_count_as_new() -> None:
    door = Door()
    for each in ("", "a1", "b1", "c1"):
        door.come(each)
    door.connections.update(door.known[""], is_waiting_for_client=False)
    door.connections.update(door.known[""], is_waiting_for_client=True)
    door.come("d1")
    assert door.closed == ["a1"]


def test_connections_of_proxies_and_this_machine_have_no_share_of_their_own() -> None:
    door = Door()
    assert [door.come(each) for each in ("1", "2", "3", "4")] == [True] * 4
    assert door.closed == []


@pytest.mark.blind
def test_connections_of_a_flood_from_several_addresses_are_closed_before_others() -> None:
    """Defect: Idle connections from five addresses close everybody else's.

    Pantau: A flood closes its own.
    """
    door = Door()
    for each in ("honest1", "1", "a1", "a2"):
        door.come(each)
    for number in range(3, 30):
        assert door.come(f"{'ab'[number % 2]}{number}")
    assert "honest1" not in door.closed, "it may take its seconds to ask"
    assert "1" not in door.closed, "nor may who comes through the proxy"
