"""Terminal output of the fault lab."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pantau_lab.faultlab.command import USAGE
from pantau_lab.faultlab.lab import AGENCY, FaultLab
from pantau_lab.faultlab.symptom import SYMPTOMS, Symptom
from pantau_lab.mail import Fault, MailSystem, Port
from probes.model.result import Outcome

_COLOURS = {Outcome.DELIVERED: "green", Outcome.JUNK: "yellow"}
_MEANINGS = {
    "break": f"break {AGENCY.code}, or the system that is named; faults add up",
    "repair": "take one fault or all from one system or all",
    "faults": "what can be broken, and what a probe reports of it",
    "systems": "what is where, and what is broken",
    "help": "this",
    "quit": "end the lab, as Ctrl-C does",
}


def catalogue() -> RenderableType:
    """Return a table of all faults with their symptoms, and the outcome of a probe on each route of the agency."""
    table = Table("fault", "what an operator sees", "internal", "outbound", "inbound", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.no_wrap = True
    for fault in Fault:
        symptom = SYMPTOMS[fault]
        outcomes = (symptom.internal, symptom.outbound, symptom.inbound)
        table.add_row(Text(fault, style="bold"), Text(fault.seen), *map(_outcome, outcomes))
    routes = "internal: the agency to itself; outbound: to a reference; inbound: from a reference."
    return Group(table, Text(), Text(f"The last three are what `pantau probe` reports. {routes}", style="dim"))


def systems(lab: FaultLab) -> RenderableType:
    """Return a table of the systems with their ports, and their faults."""
    table = Table("system", "mailbox", *Port, box=None, pad_edge=False)
    for system in lab.network.systems.values():
        (account,) = system.accounts
        ports = (str(system.port(port)) for port in Port)
        table.add_row(Text(system.name, style="bold"), account.address, *ports)
    faults = _present_faults(lab.network.systems.values())
    return Group(table, Text(), Text(faults)) if faults else table


def welcome(lab: FaultLab, command: str) -> RenderableType:
    """Return the introduction for an operator. Print it without cropping, because it has commands to copy."""
    return Group(
        Text("Pantau's fault lab: mail systems on 127.0.0.1 that can be broken on purpose.", style="bold"),
        Text(),
        systems(lab),
        Text(),
        Text("Passwords (secrets/), certificate (ca.pem) and configuration lie in"),
        _unwrapped(f"  {lab.directory}"),
        Text(),
        Text("Probe it in another terminal; without a last word, the internal route:"),
        _unwrapped(f"  {command} probe --config {lab.settings} {AGENCY.code} outbound"),
        Text(),
        Text("Break and repair it here:"),
        usage_table(),
    )


def _unwrapped(line: str) -> Text:
    """Return a line that is not wrapped, so that it can be copied."""
    return Text(line, no_wrap=True, overflow="ignore")


def usage_table() -> RenderableType:
    """Return a table of the commands."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for word, usage in USAGE.items():
        table.add_row(f"  {usage}", Text(_MEANINGS[word], style="dim"))
    return table


def broken(fault: Fault, system: str) -> RenderableType:
    """Return the new fault of a system, and what a probe reports if this is the only fault."""
    symptom = SYMPTOMS[fault] if system == AGENCY.code else _seen_from_agency(SYMPTOMS[fault])
    routes = (("internal", symptom.internal), ("outbound", symptom.outbound), ("inbound", symptom.inbound))
    reports = [part for name, outcome in routes for part in (f"  {name} ", _outcome(outcome))]
    return Group(
        Text.assemble((f"{system}: {fault}", "bold"), f"  {re.sub('[Tt]he agency', system, fault.seen)}"),
        Text.assemble(f"  a probe of {AGENCY.code} reports:", *reports),
    )


def repaired(systems: Iterable[MailSystem]) -> RenderableType:
    """Return the confirmation of a repair, with the remaining faults."""
    return Text(f"repaired; {_present_faults(systems) or 'nothing is broken'}")


def _seen_from_agency(symptom: Symptom) -> Symptom:
    """Return the outcomes on the agency's routes if the reference has the fault: outbound and inbound are exchanged."""
    return Symptom(internal=Outcome.DELIVERED, outbound=symptom.inbound, inbound=symptom.outbound)


def _present_faults(systems: Iterable[MailSystem]) -> str:
    """Return the present faults of *systems* as text; "" if there are none."""
    return "; ".join(
        f"{system.name} has {', '.join(fault for fault in Fault if fault in system.faults)}"
        for system in systems
        if system.faults
    )


def _outcome(outcome: Outcome) -> Text:
    return Text(outcome, style=_COLOURS.get(outcome, "red"))
