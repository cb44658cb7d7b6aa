"""Section `out_of_band` and its file of numbers: calls and SMS to the NOC when the database or a process fails.

Such an alert works without the database, which the notification of incidents needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from alerts.model.channel import Channel
from monitor.config.fields.phone import e164, find_objection
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity, split_remedy, suggest
from monitor.config.files.regular import NotRegularFileError, read_regular
from monitor.config.files.section import PositiveDuration, ResolvedPath, Section, Slug
from monitor.config.service.gateway import GatewaySettings
from monitor.evaluation.out_of_band import OutOfBandPolicy

#: Channels of out-of-band alerts. Faxes and letters need rendered pages, and nobody reads them in time.
OUT_OF_BAND_CHANNELS = (Channel.VOICE, Channel.SMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBandNumber:
    """Telephone number that receives out-of-band alerts."""

    #: In E.164 format: "+60100000900".
    number: str = field(repr=False)
    #: Whether the number is a mobile, which can receive SMS.
    is_mobile: bool


class InvalidNumbersError(Exception):
    """The file of numbers is invalid. The message has one line per problem and contains no number."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class OutOfBandSettings(Section):
    """Out-of-band alerts to the NOC. They need neither the database nor the contacts in the settings file."""

    numbers_file: ResolvedPath = Field(examples=["out-of-band-numbers"])
    """File with one number per line; text after # is a comment. Read at the start and after each change."""
    gateways: tuple[Slug, ...] = Field(examples=["[suara-utama, sms-utama]"])
    """Names of voice and SMS gateways. The gateways of each channel are tried in this order until one accepts."""
    store_unavailable_after: PositiveDuration = timedelta(minutes=10)
    """How long the database must be unavailable before the first alert."""
    peer_silent_after: PositiveDuration = timedelta(minutes=2)
    """How long another process on the same PostgreSQL must have written no heartbeat before the first alert."""
    repeat_interval: PositiveDuration = timedelta(minutes=30)
    """Interval at which alerts are repeated."""

    def build(self) -> OutOfBandPolicy:
        """Return the times after which alerts are sent."""
        return OutOfBandPolicy(
            store=self.store_unavailable_after, peer=self.peer_silent_after, repeat=self.repeat_interval
        )


#: Maximum size of the file of numbers in octets: some thousand numbers.
_MAX_FILE_OCTETS = 64 * 1024


def read_numbers(path: Path) -> tuple[OutOfBandNumber, ...]:
    """Return the numbers in the file *path*. Raise `InvalidNumbersError` with all invalid lines, or `OSError`."""
    numbers, problems = [], []
    try:
        lines = read_regular(path, _MAX_FILE_OCTETS).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidNumbersError(
            [f"{path.name} is not UTF-8 text; write instead: one number a line: 010-000 0900"]
        ) from None
    except NotRegularFileError as error:
        raise InvalidNumbersError([f"{path.name} {error}; write instead: a file with one number a line"]) from None
    for line_number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        problem = find_objection(text, Channel.VOICE)
        if problem is not None and problem.severity is Severity.ERROR:
            problems.append(
                f"{path.name}:{line_number}: is no telephone number that can be called; write instead: 010-000 0900"
            )
            continue
        sms_objection = find_objection(text, Channel.SMS)
        numbers.append(
            OutOfBandNumber(
                number=e164(text), is_mobile=sms_objection is None or sms_objection.severity is not Severity.ERROR
            )
        )
    if problems:
        raise InvalidNumbersError(problems)
    if not numbers:
        raise InvalidNumbersError([f"{path.name} holds no number; write instead: one a line: 010-000 0900"])
    return tuple(dict.fromkeys(numbers))


def check_out_of_band(
    settings: OutOfBandSettings,
    gateways: Mapping[Channel, tuple[GatewaySettings, ...]],
    findings: Findings,
) -> None:
    """Record missing or unknown gateways, gateways for faxes or letters, and an invalid file of numbers."""
    channels = {entry.name: channel for channel, entries in gateways.items() for entry in entries}
    usable = [name for name, channel in channels.items() if channel in OUT_OF_BAND_CHANNELS]
    if not settings.gateways and not findings["gateways"].is_broken:
        findings["gateways"].error("no gateway is named", f"one of {', '.join(usable)}" if usable else "a gateway")
    for number, name in enumerate(settings.gateways):
        if name not in channels and not findings.root["gateways"].is_blank:
            findings["gateways", number].error(f"there is no gateway '{name}'", suggest(name, usable, "a gateway"))
        elif name in channels and channels[name] not in OUT_OF_BAND_CHANNELS:
            findings["gateways", number].error(
                f"'{name}' sends faxes or letters, which nobody reads in time", "voice or sms"
            )
    if findings["numbers_file"].is_broken:
        return
    try:
        read_numbers(settings.numbers_file)
    except InvalidNumbersError as error:
        for problem in error.problems:
            findings["numbers_file"].error(*split_remedy(problem))
    except OSError as error:
        findings["numbers_file"].error(f"cannot be read: {error.strerror}", "the path of a file with one number a line")
