"""The command `pantau`: one file a command."""

from __future__ import annotations

import typer

from monitor.cli import (
    ack,
    audit,
    check,
    correct,
    dossier,
    drill,
    hand_on,
    incidents,
    letter,
    letters,
    notices,
    oncall,
    override,
    probe,
    purge,
    release,
    reload,
    remark,
    run,
    settle,
    silence,
)
from monitor.cli.run import log_to_stderr

try:
    from monitor.cli import demo, lab
except ModuleNotFoundError as missing:
    # The fictional world is an optional extra: a service in earnest needs none of its libraries.
    if missing.name and missing.name.split(".")[0] in {"monitor", "probes", "alerts"}:
        raise
    demo = lab = None  # type: ignore[assignment]

app = typer.Typer(
    name="pantau",
    help="Proves that official e-mail works, and tells people by SMS, call, fax and letter when it does not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    run,
    check,
    probe,
    incidents,
    notices,
    oncall,
    ack,
    hand_on,
    remark,
    release,
    correct,
    letter,
    settle,
    dossier,
    drill,
    reload,
    purge,
):
    name = command.__name__.rsplit(".", 1)[-1]
    app.command(name.replace("_", "-"))(getattr(command, name))
app.add_typer(audit.app, name="audit")
app.add_typer(letters.app, name="letters")
app.add_typer(override.app, name="override")
app.add_typer(silence.app, name="silence")
if demo is not None:
    app.add_typer(demo.app, name="demo")
    app.command("lab")(lab.lab)


def main() -> None:
    """Run the command line."""
    # Before anything else: what a library's default log shows of a failure may hold a password.
    log_to_stderr()
    app()
