"""`pantau secrets`: the key that secrets in the store are encrypted with, and another in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.private import write_private
from monitor.cli.service import LONG, ask, fail
from monitor.cli.table import Columns, show

app = typer.Typer(
    help="The secrets in the store: the key that they are encrypted with, and another in its place.",
    no_args_is_help=True,
)


@app.command("generate-key")
def generate_key(
    to: Annotated[
        Path | None,
        typer.Option("--to", help="A new file, which only its owner may read; default: shown here.", metavar="FILE"),
    ] = None,
) -> None:
    """Make a key. Keep a copy of its file apart from the copies of the store: together they open what either alone does not."""
    from monitor.store.admin.keyring import new_key  # noqa: PLC0415 - the other orders need nothing of the service

    if to is None:
        typer.echo(new_key())
        return
    try:
        # Never over another: what that one encrypted would be lost.
        write_private(to, f"{new_key()}\n".encode())
    except FileExistsError:
        fail(f"there is a {to} already, and it may be a key: name another file")
    except OSError as error:
        fail(f"{to} cannot be written: {error.strerror}")
    typer.echo(f"A key is in {to}. In the settings: portal.secrets_key_file: {to}")


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Count the secrets in the store, by what they are for and the name of their key. None is shown."""
    columns: Columns = {
        "For": "purpose",
        "Secrets": lambda each: str(each["count"]),
        "Key": "key_id",
        "State": lambda each: _state(is_readable=each["is_readable"], is_current=each["is_current"]),
    }
    show(ask(config, socket, "GET", "/secrets"), columns, nothing="There are no secrets in the store.")


@app.command()
def rotate(by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Encrypt all secrets with the key of `secrets_key_file`, which `old_secrets_key_file` still reads.

    Broken off, it goes on when it is called again. Then the old key may go from the settings. docs/how-to/operator/portal.md says the rest.
    """
    done = ask(config, socket, "POST", "/secrets/rotate", {"by": by}, within=LONG)
    typer.echo(f"{done['changed']} secrets were encrypted anew, with the key {done['key_id']}.")
    if done["locked"]:
        fail(f"{done['locked']} are still under another key, and cannot be read: `pantau secrets list` counts them")
    typer.echo("Every secret is under it: old_secrets_key may go from the settings at the next start.")


def _state(*, is_readable: bool, is_current: bool) -> str:
    if is_current:
        return "the present key"
    return "an old key, until `pantau secrets rotate`" if is_readable else "CANNOT BE READ: its key is not here"
