"""Ports claimed for a program that starts later or restarts."""

from __future__ import annotations

import socket

import pytest

from monitor.web.serving import open_port
from pantau_lab.serving import claim, claimed


def test_claimed_port_refuses_connections_without_listener() -> None:
    with claimed(1) as (port,):
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with open_port("127.0.0.1", port) as listener, socket.create_connection(("127.0.0.1", port)):
                listener.accept()[0].close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_claimed_port_accepts_named_listener_at_any_address(host: str) -> None:
    with claimed(1) as (port,), open_port(host, port), socket.create_connection((host, port)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_claimed_port_is_not_given_to_other_programs(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with claimed(1) as (port,), socket.socket(family) as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))


def test_claim_port_with_listener_fails() -> None:
    with open_port("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        claim(listener.getsockname()[1])
