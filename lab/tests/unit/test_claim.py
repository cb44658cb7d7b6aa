"""A port is kept for a program that is started later, and started again."""

from __future__ import annotations

import socket

import pytest

from monitor.web.serving import open_port
from pantau_lab.serving import claim, claimed


def test_connections_are_refused_until_somebody_listens_there_and_again_when_he_has_gone() -> None:
    with claimed(1) as (port,):
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with open_port("127.0.0.1", port) as listener, socket.create_connection(("127.0.0.1", port)):
                listener.accept()[0].close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_whoever_names_it_may_listen_at_any_address(host: str) -> None:
    with claimed(1) as (port,), open_port(host, port), socket.create_connection((host, port)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_nobody_is_given_it_who_does_not_name_it(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with claimed(1) as (port,), socket.socket(family) as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))


def test_a_port_that_somebody_listens_on_cannot_be_claimed() -> None:
    with open_port("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        claim(listener.getsockname()[1])
