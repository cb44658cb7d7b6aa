"""Limits of a listener's connections, and which connection is closed for a new one."""

from __future__ import annotations

import pytest

from monitor.web.connection import Connection, ConnectionLimits, Connections, connection_limits


@pytest.mark.parametrize(
    ("descriptors", "total", "per_address"),
    [(64, 8, 2), (256, 32, 8), (1024, 128, 32), (16_384, 1024, 256), (1 << 20, 1024, 256), (10, 4, 1)],
)
def test_connection_limits_leave_three_quarters_of_descriptors(descriptors: int, total: int, per_address: int) -> None:
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


class Listener:
    """A listener with four connections, two per address."""

    def __init__(self) -> None:
        self.connections = Connections(ConnectionLimits(total=4, per_address=2))
        self.closed: list[str] = []
        self.by_name: dict[str, Connection] = {}

    def connect(self, name: str, *, is_waiting: bool = True) -> bool:
        """Connect "a1" from the address "a"; return whether it is admitted."""
        self.by_name[name] = Connection(origin=name.rstrip("0123456789"), close=lambda: self.closed.append(name))
        admitted = self.connections.admit(self.by_name[name])
        self.connections.update(self.by_name[name], is_waiting_for_client=is_waiting)
        return admitted


def test_connections_above_address_limit_close_its_oldest_waiting() -> None:
    listener = Listener()
    assert [listener.connect(each) for each in ("b1", "a1", "a2", "a3", "a4")] == [True] * 5
    assert (listener.closed, listener.connections.closed_count) == (["a1", "a2"], 2)


def test_connections_above_total_limit_close_oldest_waiting() -> None:
    listener = Listener()
    listener.connect("a1", is_waiting=False)
    assert [listener.connect(each) for each in ("b1", "c1", "d1", "e1", "f1")] == [True] * 5
    assert listener.closed == ["b1", "c1"], "who is being answered keeps the connection"


def test_connections_all_being_answered_refuse_new_until_one_ends() -> None:
    listener = Listener()
    for each in ("a1", "b1", "c1", "d1"):
        listener.connect(each, is_waiting=False)
    assert not listener.connect("e1")
    assert (listener.closed, listener.connections.closed_count) == ([], 1)
    listener.connections.remove(listener.by_name["a1"])
    listener.connections.remove(listener.by_name["a1"])
    assert listener.connect("f1")


def test_connections_waiting_again_count_as_new() -> None:
    listener = Listener()
    for each in ("", "a1", "b1", "c1"):
        listener.connect(each)
    listener.connections.update(listener.by_name[""], is_waiting_for_client=False)
    listener.connections.update(listener.by_name[""], is_waiting_for_client=True)
    listener.connect("d1")
    assert listener.closed == ["a1"]


def test_connections_of_proxies_and_this_machine_have_no_address_limit() -> None:
    listener = Listener()
    assert [listener.connect(each) for each in ("1", "2", "3", "4")] == [True] * 4
    assert listener.closed == []


@pytest.mark.blind
def test_connections_flood_from_several_addresses_closes_its_own_first() -> None:
    """Defect: Idle connections from five addresses close everybody else's.

    Pantau: A flood closes its own.
    """
    listener = Listener()
    for each in ("honest1", "1", "a1", "a2"):
        listener.connect(each)
    for number in range(3, 30):
        assert listener.connect(f"{'ab'[number % 2]}{number}")
    assert "honest1" not in listener.closed, "it may take its seconds to ask"
    assert "1" not in listener.closed, "nor may who comes through the proxy"
