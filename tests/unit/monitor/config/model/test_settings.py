"""The settings that are built from a valid settings file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from alerts.model.channel import Channel
from alerts.model.contact import Address
from monitor.config.agency.announcement import AnnouncementSettings, RecipientSettings, ReleaseMode
from monitor.config.fields.listen import Listen
from monitor.config.loading import Configuration, ConfigurationError
from monitor.config.model.registry import Agency
from monitor.config.model.settings import NOC_AGENCY, Settings
from tests.unit.monitor.config.ministry import Ministry


@pytest.fixture
def ministry(tmp_path: Path) -> Ministry:
    return Ministry(tmp_path)


def accepted(ministry: Ministry, **environ: str) -> Configuration:
    return ministry.load(environ).require_configuration()


def test_settings_defaults(ministry: Ministry) -> None:
    settings = accepted(ministry).settings
    assert settings.listen == Listen("127.0.0.1", 8080)
    assert settings.callbacks.listen == Listen("127.0.0.1", 8081)
    assert settings.callbacks.public_url is None
    assert settings.official_suffixes == ("gov.my", "edu.my", "mil.my")
    assert {"yahoo.com", "gmail.com", "streamyx.com.my"} <= set(settings.private_providers)
    assert settings.probing.interval == timedelta(minutes=5)
    assert settings.noc.escalation.rounds == 3
    assert AnnouncementSettings().release is ReleaseMode.MANUAL


def test_listen_environment_variable_overrides_settings(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "listen: 127.0.0.1:9000")
    assert accepted(ministry).settings.listen.port == 9000
    assert str(accepted(ministry, PANTAU_LISTEN="[::1]:9001").settings.listen) == "[::1]:9001"


def test_relative_paths_start_at_settings_file(ministry: Ministry) -> None:
    assert accepted(ministry).settings.state_dir == ministry.directory / "state"


def test_gateways_keep_order_and_own_settings(ministry: Ministry) -> None:
    ministry.edit(
        "pantau",
        "sms: [",
        "sms: [{gateway: pigeon, name: merpati-kedua, loft: bawah, retries: 2, token_file: secrets/mail}, ",
    )
    second, first = accepted(ministry).settings.gateways[Channel.SMS]
    assert (second.name, second.kind, second.channel) == ("merpati-kedua", "pigeon", Channel.SMS)
    assert first.name == "pigeon"
    assert second.config.model_dump()["retries"] == 2


def test_gateway_per_minute_is_read(ministry: Ministry) -> None:
    ministry.edit("pantau", "sms: [{gateway: pigeon", "sms: [{gateway: pigeon, per_minute: 30")
    [gateway] = accepted(ministry).settings.gateways[Channel.SMS]

    assert gateway.per_minute == 30


def test_settings_are_immutable(ministry: Ministry) -> None:
    with pytest.raises(ValidationError):
        accepted(ministry).settings.site = "lain"


def test_configuration_with_errors_is_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", "site:", "sitte:")
    with pytest.raises(ConfigurationError, match="sitte: is no known key") as refused:
        accepted(ministry)
    assert len(refused.value.problems) == 1


def test_noc_policy_notifies_noc_contacts(ministry: Ministry) -> None:
    snapshot = accepted(ministry).settings.build_noc_policy(subject="peti rujukan A", subject_en="reference mailbox A")
    assert (snapshot.agency, snapshot.office.short, snapshot.office.name) == (
        NOC_AGENCY,
        "PANTAU",
        "Pusat Operasi Contoh",
    )
    assert [contact.key for contact in snapshot.escalation.steps[0].contacts] == ["rahim"]
    assert snapshot.escalation.steps[0].contacts[0].addresses == (Address(channel=Channel.SMS, number="+12025550101"),)
    assert snapshot.announcement.recipients == ()


@pytest.mark.parametrize("model", [Settings, Agency, RecipientSettings])
def test_model_forbids_unknown_keys(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]
