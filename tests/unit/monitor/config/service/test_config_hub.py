"""Checks at a hub that count all its sites together."""

from __future__ import annotations

import pytest
import trustme

from tests.unit.monitor.config.ministry import Ministry


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def hub(ministry: Ministry, authority: trustme.CA) -> Ministry:
    """Return the configuration of a hub with two sites."""
    for name in ("site.crt", "site.key"):
        (ministry.directory / name).touch()
    authority.cert_pem.write_to_path(ministry.directory / "ca.crt")
    sites = "".join(
        f"    {name}: {{url: 'postgresql://pantau_hub@{name}.kementerian-contoh.gov.my/pantau',"
        " cert_file: site.crt, key_file: site.key, ca_file: ca.crt, password_file: secrets/mail}\n"
        for name in ("johor", "kuching")
    )
    ministry.edit(
        "pantau",
        "state_dir: state\n",
        f"state_dir: state\nstore: {{url: 'postgresql://pantau@/noc'}}\nhub:\n  sites:\n{sites}",
    )
    return ministry


def with_hub(ministry: Ministry, line: str) -> Ministry:
    ministry.edit("pantau", "hub:\n", f"hub:\n  {line}\n")
    return ministry


def test_hub_without_quorum_is_a_warning(hub: Ministry) -> None:
    (problem,) = (line for line in hub.problems() if ": hub.quorum: " in line)
    assert problem == (
        "pantau.yaml:4: warning: hub.quorum: is not set: while no other site reports, this site alone decides that there is "
        "an outage; write instead: 2; or 1, if this site alone may decide"
    )


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_hub_explicit_quorum_is_accepted(hub: Ministry, quorum: int) -> None:
    assert not [line for line in with_hub(hub, f"quorum: {quorum}").problems() if "quorum" in line]


@pytest.mark.parametrize(("line", "share"), [("quorum: 2", 50), ("quorum_share: 100%", 100), ("quorum_share: 0 %", 0)])
def test_quorum_share_defaults_to_half_of_fresh_sites(hub: Ministry, line: str, share: int) -> None:
    settings = with_hub(hub, line).load().require_configuration().settings
    assert settings.hub is not None
    assert settings.hub.build("noc").share == share


@pytest.mark.parametrize("share", ["50", "0.5", "half", "101%", "-1%", "[50%]"])
def test_quorum_share_invalid_is_refused(hub: Ministry, share: str) -> None:
    (problem,) = (line for line in with_hub(hub, f"quorum_share: {share}").problems() if "quorum_share" in line)
    assert problem == "pantau.yaml:5: hub.quorum_share: is no percentage; write instead: 50%"


def test_quorum_above_possible_votes_is_a_warning(hub: Ministry) -> None:
    hub.edit("pantau", "ca_file: ca.crt, password_file: secrets/mail}", "ca_file: ca.crt, uplink: tm}")
    (problem,) = (line for line in with_hub(hub, "quorum: 3").problems() if ": hub.quorum: " in line)
    assert problem == (
        "pantau.yaml:5: warning: hub.quorum: is more than the 2 possible votes, so all of them are needed; write instead: 2"
    )
    settings = hub.load().require_configuration().settings
    assert settings.hub is not None
    assert settings.hub.build("noc").uplinks == {"johor": "tm", "kuching": "tm"}


def test_quota_exceeded_by_all_sites_together_is_a_warning(
    hub: Ministry,
) -> None:
    with_hub(hub, "quorum: 2")
    loaded = hub.load()
    (problem,) = (str(each).partition("jabatan.yaml:")[2] for each in loaded.problems)
    assert problem == (
        "12: warning: mailboxes.utama: pantau@jabatan-contoh.gov.my would send up to 2852 messages a day from 3 sites "
        "together, and google allows an account 2000 a day; write instead: an interval of 8m or longer on all routes from "
        "it, or another account for some of them"
    )
    loaded.require_configuration()


def test_quota_exceeded_by_one_site_is_an_error_with_total(hub: Ministry) -> None:
    with_hub(hub, "quorum: 2")
    hub.edit("pantau", "state_dir: state\n", "state_dir: state\nmail_providers: {google: {messages_per_day: 900}}\n")
    (problem,) = hub.problems()
    assert "mailboxes.utama: " in problem
    assert "warning" not in problem
    assert "up to 2852 messages a day from 3 sites together" in problem


def test_quota_of_reference_counts_messages_of_all_sites(hub: Ministry) -> None:
    with_hub(hub, "quorum: 2")
    limit = "mail_providers: {google: {messages_per_day: 9000}, rujukan: {hosts: [rujukan-a.gov.my], received_per_hour: 60}}"
    hub.edit("pantau", "state_dir: state\n", f"state_dir: state\n{limit}\n")
    (problem,) = hub.problems()
    assert "references.rujukan-a: up to " in problem
    assert "messages an hour from 3 sites together would come to pantau@rujukan-a.gov.my" in problem
