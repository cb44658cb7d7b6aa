"""`pantau letter-preview`: write a sample of a letter or fax page as a PDF."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from alerts.documents.render import fax
from alerts.documents.render import letter as render_letter
from alerts.model.notification import OUTAGE_PURPOSES, Facts, IncidentType, Plan, Purpose
from alerts.model.number import incident_number, number_prefix
from alerts.wording.key import FOR_STAFF
from monitor.cli.configured import load_configuration
from monitor.cli.option import DEFAULT_CONFIG, Config
from monitor.cli.service import fail
from monitor.config.agency.letterhead import load_crest


def letter_preview(
    agency: Annotated[str, typer.Argument(help="Short code, such as JKR.")],
    config: Config = DEFAULT_CONFIG,
    recipient: Annotated[
        str | None, typer.Option("--recipient", help="Key of a recipient; default: the first.")
    ] = None,
    purpose: Annotated[
        Purpose, typer.Option("--purpose", help="outage, update, recovery, correction or drill.")
    ] = Purpose.OUTAGE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the PDF; default: AGENCY-PURPOSE.pdf here.")
    ] = None,
    *,
    as_fax: Annotated[bool, typer.Option("--fax", help="Write the fax page instead of the letter.")] = False,
) -> None:
    """Write a letter or fax page as it would be sent, with this agency's data and invented times."""
    if purpose in FOR_STAFF:
        fail(
            f"a {purpose} is sent to staff by SMS or call, not on paper; write --purpose outage, update, recovery, correction or drill",
            2,
        )
    configuration = load_configuration(config)
    agency_settings = configuration.registry.agencies.get(agency.upper())
    if agency_settings is None:
        fail(f"there is no agency {agency}; there are {', '.join(configuration.registry.agencies)}", 2)
    recipients = {
        each.key: each
        for each in agency_settings.build_policy(configuration.settings.build_shared()).announcement.recipients
    }
    if not recipients:
        fail(f"{agency} has no recipients of announcements: its file has no announcement.recipients", 2)
    if recipient is not None and recipient not in recipients:
        fail(f"{agency} has no recipient {recipient}; it has {', '.join(recipients)}", 2)
    selected = recipients[recipient] if recipient else next(iter(recipients.values()))
    now = datetime.now(UTC)
    facts = Facts(
        purpose=purpose,
        plan=Plan.ANNOUNCEMENT,
        type=IncidentType.BOTH,
        office=agency_settings.build_office(),
        number=incident_number(number_prefix(agency_settings.agency), 0),
        began_at=now - timedelta(hours=2),
        notified_at=now,
        first_notified_at=None if purpose is Purpose.OUTAGE else now - timedelta(hours=1),
        ended_at=None if purpose in OUTAGE_PURPOSES else now - timedelta(minutes=5),
    )
    if as_fax:
        page = fax(facts, selected.addressee, configuration.wording)
    else:
        crest = load_crest(agency_settings.letterhead.crest) if agency_settings.letterhead.crest else None
        page = render_letter(facts, selected.addressee, configuration.wording, crest=crest)
    path = output or Path(f"{agency_settings.agency}-{purpose}{'-fax' if as_fax else ''}.pdf")
    try:
        path.write_bytes(page.pdf)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    typer.echo(f"{path}: {page.title}, {page.pages} page{'s' if page.pages > 1 else ''}. A preview: nothing was sent.")
