"""`pantau paper`: show and resume letters and faxes that are paused after the store (the database) was restored.

An older copy of the store would assign incident numbers again that are already on posted letters and faxes. The service
therefore skips numbers when it resumes.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, LastNumbers, Socket
from monitor.cli.service import call_service
from monitor.cli.table import Columns, format_day_and_time, print_table

app = typer.Typer(
    help="Letters and faxes that are paused because the store may be an older copy.",
    no_args_is_help=True,
)

#: Texts of the values of `alerts.persistence.restoration.DetectionMethod`.
REASONS = {
    "restored": "{by} restored an older copy",
    "older": "the store is older than its high-water mark",
    "empty": "the store was empty, and its high-water mark was not",
    "silent": "nothing was written to the store for more than an hour",
}


@app.command()
def status(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Show what is paused and why, and letters in the trays that the store does not have. Times are Malaysian."""
    paper_status = call_service(config, socket, "GET", "/paper")
    if not paper_status["restorations"]:
        typer.echo("Nothing is paused: the store was never restored.")
        return
    restorations: Columns = {
        "Detected": lambda each: format_day_and_time(each["noticed_at"]),
        "Reason": lambda each: REASONS[each["how"]].format(by=each["by"]),
        "Last write": lambda each: format_day_and_time(each["since"]) if each["since"] else "",
        "Skipped numbers": _skipped_numbers,
        "Confirmed": lambda each: (
            f"{format_day_and_time(each['confirmed_at'])} by {each['confirmed_by']}" if each["confirmed_at"] else "NO"
        ),
    }
    pages: Columns = {
        "Id": "id",
        "Incident": "incident",
        "Page": lambda each: str(each["page"] or ""),
        "Channel": "channel",
        "Purpose": "purpose",
        "To": "to",
    }
    print_table(paper_status["restorations"], restorations, nothing="")
    print_table(paper_status["pages"], pages, nothing="No page is paused.")
    for unknown in paper_status["unknown"]:
        typer.echo(f"not in the store: {unknown}")


def _skipped_numbers(restoration: dict[str, Any]) -> str:
    return ", ".join(_format_range(prefix, *numbers) for prefix, numbers in (restoration["skipped"] or {}).items())


def _format_range(prefix: str, first: int, last: int) -> str:
    first_number = f"{prefix}-{first:02d}"
    return first_number if first == last else f"{first_number} to {prefix}-{last:02d}"


@app.command()
def resume(
    *,
    reason: Annotated[str, typer.Option("--reason", help="What you found out, for the audit log.", metavar="TEXT")],
    last_number: LastNumbers = None,
    nothing_lost: Annotated[
        bool, typer.Option("--nothing-lost", help="The machine was off and the store is not a copy: skip no numbers.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Resume letters and faxes. First set each page that was posted before: `pantau set-status ID --delivered`."""
    body = {"by": by, "reason": reason, "last_numbers": " ".join(last_number or [])}
    restoration: Any = call_service(
        config, socket, "POST", "/paper/resume", body | ({"nothing_lost": "yes"} if nothing_lost else {})
    )
    typer.echo(f"Letters and faxes are sent again. Skipped numbers: {_skipped_numbers(restoration) or 'none'}.")
