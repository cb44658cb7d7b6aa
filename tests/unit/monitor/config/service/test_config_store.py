"""Settings of the database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from psycopg.conninfo import conninfo_to_dict

from monitor.store.backend.postgres import PostgresServer
from monitor.store.sites.link import conninfo
from tests.unit.monitor.config.ministry import SECRET, Ministry

HOST = "pangkalan.kementerian-contoh.gov.my"


@pytest.fixture
def ministry(tmp_path: Path) -> Ministry:
    return Ministry(tmp_path)


def with_store(ministry: Ministry, written: str) -> Ministry:
    ministry.edit("pantau", "state_dir: state", f"state_dir: state\nstore: {{{written}}}")
    return ministry


def built(ministry: Ministry) -> PostgresServer:
    store = ministry.load().require_configuration().settings.store
    assert store is not None
    return store.build()


def test_store_without_section_is_sqlite_file(ministry: Ministry) -> None:
    assert ministry.load().require_configuration().settings.store is None


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        (f"postgresql://pantau@{HOST}/noc", HOST, 5432, True),
        (f"postgres://pantau@{HOST}:5433/noc", HOST, 5433, True),
        ("postgresql://pantau@10.0.0.5/noc", "10.0.0.5", 5432, True),
        ("postgresql://pantau@127.0.0.1/noc", "127.0.0.1", 5432, False),
        ("postgresql://pantau@[::1]:5433/noc", "::1", 5433, False),
        ("postgresql://pantau@/noc", "/run/postgresql", 5432, False),
        ("postgresql://pantau@/noc?host=/srv/pg", "/srv/pg", 5432, False),
        ("postgresql://pantau@%2Fsrv%2Fpg/noc", "/srv/pg", 5432, False),
        (f"postgresql://pantau@/noc?host={HOST},10.0.0.6", f"{HOST},10.0.0.6", 5432, True),
        ("postgresql://pantau@/noc?host=/srv/pg,10.0.0.6", "/srv/pg,10.0.0.6", 5432, True),
        ("postgresql://pantau@/noc?host=/srv/pg,127.0.0.1", "/srv/pg,127.0.0.1", 5432, False),
    ],
)
def test_store_url_is_parsed_and_local_host_needs_no_tls(
    ministry: Ministry, url: str, host: str, port: int, *, tls: bool
) -> None:
    server = built(with_store(ministry, f'url: "{url}"'))
    assert server == PostgresServer(host=host, port=port, database="noc", user="pantau", tls=tls)


def test_store_password_is_read_and_not_in_repr(ministry: Ministry) -> None:
    server = built(with_store(ministry, f"url: postgresql://pantau@{HOST}/noc, password_file: secrets/mail"))
    assert server.password == SECRET
    settings = ministry.load().require_configuration().settings
    for shown in (repr(server), str(server), repr(settings), repr(server.url()), str(server.arguments())):
        assert SECRET not in shown


def test_store_tls_verifies_certificate(ministry: Ministry) -> None:
    arguments = built(with_store(ministry, f"url: postgresql://pantau@{HOST}/noc")).arguments()
    assert (arguments["sslmode"], bool(arguments["sslrootcert"])) == ("verify-full", True)


def test_store_programs_get_client_certificate(ministry: Ministry) -> None:
    server = replace(
        built(with_store(ministry, f"url: postgresql://pantau@{HOST}/noc")),
        cert_file=Path("/etc/pantau/noc.pem"),
        key_file=Path("/etc/pantau/noc.key"),
    )
    variables = server.environ()
    assert (variables["PGSSLMODE"], variables["PGSSLCERT"], variables["PGSSLKEY"]) == (
        "verify-full",
        "/etc/pantau/noc.pem",
        "/etc/pantau/noc.key",
    )


def test_store_with_several_hosts_requires_primary(ministry: Ministry) -> None:
    one = built(with_store(ministry, f'url: "postgresql://pantau@{HOST}/noc"'))
    several = replace(one, host=f"{HOST},10.0.0.6")
    for server, wanted in ((one, None), (several, "primary")):
        assert server.arguments().get("target_session_attrs") == wanted
        assert server.environ().get("PGTARGETSESSIONATTRS") == wanted
        # At a site the server of the hub connects, too.
        assert conninfo_to_dict(conninfo(server)).get("target_session_attrs") == wanted


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("url: sqlite:///x", "url: must begin with postgresql://; for the SQLite file leave `store` out"),
        (f"url: postgresql://pantau:rahsia@{HOST}/noc", "url: holds a password"),
        (f"url: postgresql://{HOST}/noc", "url: must name a user and a database"),
        (f"url: postgresql://pantau@{HOST}", "url: must name a user and a database"),
        (f'url: "postgresql://pantau@{HOST}/noc?sslmode=disable"', "url: has options that are not known here"),
        (f"url: postgresql://pantau@{HOST}:x/noc", "url: is no URL"),
        (f"url: postgresql://pantau@{HOST}/noc, tls: false", f"tls: {HOST} is another machine"),
        ("url: postgresql://pantau@/noc, tls: true", "tls: a Unix socket has no TLS"),
        (f"url: postgresql://pantau@{HOST}/noc, ca_file: tiada.pem", "ca_file: "),
        ("password_file: secrets/mail", "url: is missing"),
        (
            f"url: postgresql://pantau@{HOST}/noc, password: rahsia",
            "password: a secret is never written in the configuration",
        ),
    ],
)
def test_store_invalid_settings_are_refused_without_password(ministry: Ministry, written: str, problem: str) -> None:
    problems = with_store(ministry, written).problems()
    assert len(problems) == 1
    assert f": store.{problem}" in problems[0]
    assert "rahsia" not in problems[0]


def test_hub_site_uses_certificate_and_password_not_in_repr(ministry: Ministry) -> None:
    for name in ("johor.crt", "johor.key"):
        (ministry.directory / name).touch()
    trustme.CA().cert_pem.write_to_path(ministry.directory / "ca.crt")
    url = f"postgresql://pantau_hub@{HOST}/pantau"
    files = "cert_file: johor.crt, key_file: johor.key, ca_file: ca.crt, password_file: secrets/mail"
    written = f"url: postgresql://pantau@/noc}}\nhub: {{sites: {{johor: {{url: '{url}', {files}}}}}"
    settings = with_store(ministry, written).load().require_configuration().settings
    assert settings.hub is not None
    server = settings.hub.sites["johor"].build()
    arguments = server.arguments()
    assert (arguments["sslmode"], server.password) == ("verify-full", SECRET)
    shown = [Path(arguments[each]).name for each in ("sslcert", "sslkey", "sslrootcert")]
    assert shown == ["johor.crt", "johor.key", "ca.crt"]
    for text in (repr(server), str(server), repr(settings), str(arguments)):
        assert SECRET not in text
