"""`pantau secrets`: generate and rotate the key that encrypts secrets in the store (the database)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.private import write_private
from monitor.cli.service import LONG_TIMEOUT, call_service, fail
from monitor.cli.table import Columns, print_table

app = typer.Typer(
    help="Secrets in the store, and the key that encrypts them.",
    no_args_is_help=True,
)


@app.command("generate-key")
def generate_key(
    to: Annotated[
        Path | None,
        typer.Option("--to", help="A new file that only its owner can read; default: print the key.", metavar="FILE"),
    ] = None,
) -> None:
    """Generate a key. Keep its copy apart from copies of the store: only both together reveal the secrets."""
    from monitor.store.admin.keyring import new_key  # noqa: PLC0415 - other commands do not need it

    if to is None:
        typer.echo(new_key())
        return
    try:
        # An existing key is never overwritten: secrets encrypted with it would be lost.
        write_private(to, f"{new_key()}\n".encode())
    except FileExistsError:
        fail(f"{to} exists and may be a key: name another file")
    except OSError as error:
        fail(f"{to} cannot be written: {error.strerror}")
    typer.echo(f"The key is in {to}. In the settings, write: portal.secrets_key_file: {to}")


@app.command("list")
def list_(config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Count the secrets in the store by purpose and key. No secret is shown."""
    columns: Columns = {
        "For": "purpose",
        "Secrets": lambda each: str(each["count"]),
        "Key": "key_id",
        "State": lambda each: _state(is_readable=each["is_readable"], is_current=each["is_current"]),
    }
    print_table(call_service(config, socket, "GET", "/secrets"), columns, nothing="There are no secrets in the store.")


@app.command()
def rotate(by: By = "", config: Config = DEFAULT_CONFIG, socket: Socket = None) -> None:
    """Decrypt all secrets with `portal.previous_secrets_key`, and encrypt them with `portal.secrets_key`.

    If it is interrupted, run it again. Then remove the old key from the settings. See docs/how-to/operator/portal.md.
    """
    rotation = call_service(config, socket, "POST", "/secrets/rotate", {"by": by}, timeout=LONG_TIMEOUT)
    typer.echo(f"{rotation['changed']} secrets were encrypted again with the key {rotation['key_id']}.")
    if rotation["locked"]:  # Number of secrets that neither configured key decrypts.
        fail(f"{rotation['locked']} secrets need another key and cannot be read: `pantau secrets list` counts them")
    typer.echo("All secrets use it: remove previous_secrets_key from the settings before the next start.")


def _state(*, is_readable: bool, is_current: bool) -> str:
    if is_current:
        return "current key"
    return "old key, until `pantau secrets rotate`" if is_readable else "CANNOT BE READ: its key is missing"
