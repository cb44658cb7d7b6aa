"""Installation test on a new Debian system with the commands of the documents: from install to removal.

Run `python -m tests.machine` as root, on a Debian with debootstrap and systemd-container. Comments say what a step
does beyond the documents.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.machine.documents import ROOT, commands
from tests.machine.edit import BAD_INTERVAL, SECRET_IN_A_FILE, STORE_ON_SERVER, Edit
from tests.machine.machine import Failed, Machine

INSTALLING = "docs/how-to/operator/install.md"
#: Replacement of the operator's editor, which writes a secret.
EDITOR = """#!/bin/sh
echo rahsia-contoh-yang-panjang > "$1"
"""
CONFIG = "--config /etc/pantau/pantau.yaml"
PANTAU = "runuser -u pantau -- pantau"
#: Secrets of the shipped configuration in addition to the one of the document.
SECRETS = ("rujukan-b", "twilio", "sinch", "sinch-callback", "jabatan-contoh", "mpcontoh-awan", "mpcontoh-kaunter")


def expect(output: str, *options: str) -> None:
    for word in options:
        if re.search(word, output) is None:
            raise Failed(f"nothing like {word!r} in:\n{output}")


def edit(machine: Machine, *edits: Edit) -> None:
    """Edit the installed configuration without changing owner and mode of a file."""
    for each in edits:
        file = machine.root / "etc" / "pantau" / each.file
        file.write_text(each.apply(file.read_text(encoding="utf-8")), encoding="utf-8")


def install(machine: Machine) -> None:
    """Follow section 1: program, user, tray."""
    editor = machine.root / "usr" / "local" / "bin" / "editor"
    editor.write_text(EDITOR)
    editor.chmod(0o755)
    for block in commands(INSTALLING, "1. The program"):
        # The operator answers yes.
        machine.prepare('apt-get() { command apt-get --yes "$@"; }\napt-get -q update\n' + block)
    # A booted machine has no Internet: install what docs/how-to/operator/postgresql.md needs now.
    machine.prepare("apt-get -q --yes install postgresql sudo sqlite3")


def configure(machine: Machine) -> None:
    """Follow section 2: files and secrets, until `check` prints no errors. A start before that fails."""
    files, check = commands(INSTALLING, "2. Configuration and secrets")
    machine.run(files)
    expect(machine.run(check, code=2), "secrets/twilio does not exist")
    expect(start(machine, code=1), "control process exited with error code")
    expect(machine.run("systemctl show pantau -p ExecMainStatus -p NRestarts"), "ExecMainStatus=78", "NRestarts=0")
    for secret in SECRETS:
        machine.run(f"install -o root -g pantau -m 0640 /dev/null /etc/pantau/secrets/{secret}\n")
        machine.run(f"editor /etc/pantau/secrets/{secret}")
    edit(machine, SECRET_IN_A_FILE)
    # The telephone numbers are placeholders, which cause warnings.
    expect(machine.run(check, code=1), "accepted: 2 agencies", "0 errors")


def start(machine: Machine, *, code: int = 0) -> str:
    """Follow section 3: the unit, without following the log, which never ends."""
    [block] = commands(INSTALLING, "3. The service")
    return machine.run(block.replace("journalctl -u pantau -f\n", ""), code=code)


def check_running(machine: Machine) -> None:
    """Check that it is ready when the command returns, and that its log has priorities."""
    start(machine)
    expect(machine.run(f"{PANTAU} incidents {CONFIG}"), ".")
    machine.until("systemctl status pantau | grep 'Monitoring 2 agencies by 12 routes'")
    expect(machine.run("journalctl -u pantau -p warning -o cat"), "name server does not answer")
    found = machine.run("journalctl -u pantau -o cat --grep 'verdict changed' || true")
    if found.count("verdict=unknown") > 5:
        raise Failed(f"unknown verdicts after the start flood the log:\n{found}")


def reload(machine: Machine) -> None:
    """Reload a valid, two invalid, and a valid configuration without a restart."""
    before = machine.run("systemctl show -P MainPID pantau")
    machine.run("systemctl reload pantau; cp -p /etc/pantau/pantau.yaml /root/good.yaml")
    corruptions: tuple[Callable[[], object], ...] = (
        lambda: machine.run("echo 'x: [' >> /etc/pantau/pantau.yaml"),
        lambda: edit(machine, BAD_INTERVAL),
    )
    for corrupt in corruptions:
        corrupt()
        expect(machine.run("systemctl reload pantau", code=1), "Job for pantau.service failed")
        machine.until("systemctl status pantau | grep 'configuration refused'")
        machine.run("cp -p /root/good.yaml /etc/pantau/pantau.yaml; systemctl reload pantau")
    if machine.run("systemctl show -P MainPID pantau") != before:
        raise Failed("the service was restarted")


def crash(machine: Machine) -> None:
    """Kill and then suspend it: systemd restarts it."""
    machine.run("systemctl kill --signal KILL pantau")
    machine.until("systemctl show pantau -p NRestarts -p ActiveState | tr '\\n' ' ' | grep '1 ActiveState=active '")
    machine.run("systemctl kill --signal STOP pantau")
    machine.until("journalctl -u pantau -o cat | grep 'Watchdog timeout'")
    machine.until("systemctl is-active pantau")


def letter(machine: Machine) -> None:
    """Declare and release an outage, and post its letter as a clerk; another user cannot read it."""
    machine.run("useradd --create-home kerani; adduser kerani pantau-tray; useradd --create-home orang")
    machine.run(f"cd /; {PANTAU} declare JCONTOH both --reason ujian --by operator {CONFIG}")
    machine.run(f"cd /; {PANTAU} release JCONT-01 --by operator {CONFIG}")
    tray = "/var/spool/pantau/surat"
    found = machine.until(f"ls {tray}/*.pdf").split()[0]
    expect(machine.run(f"cd /; runuser -u kerani -- head -c 4 {found}"), "%PDF")
    expect(machine.run(f"cd /; runuser -u orang -- cat {found}", code=1), "Permission denied")
    machine.run(f"cd /; runuser -u kerani -- mv {found} {tray}/posted/")
    machine.until(f"cd /; {PANTAU} letters list {CONFIG} | grep posted")


def copy(machine: Machine) -> None:
    """Back up the running service by docs/how-to/operator/backup.md."""
    for block in commands("docs/how-to/operator/backup.md", "Back up"):
        expect(machine.run(f"cd /; {block}"), "pantau-.*sqlite")


def with_backup_name(block: str, file: str) -> str:
    """Replace the name of the backup in the document's command."""
    return re.sub(r"\S+/pantau-\d{8}T\d{6}Z\.sqlite", file, block)


def restore_backup(machine: Machine) -> None:
    """Restore a backup that is older than a letter: paper is paused, and no number is used twice."""
    copy = machine.run("ls -t /var/backups/pantau/*.sqlite").split()[0]
    [test] = commands("docs/how-to/operator/backup.md", "Test a backup")
    expect(machine.run(with_backup_name(test, copy)), "The audit log is intact")
    machine.run(f"cd /; {PANTAU} close JCONT-01 --recovered --reason ujian --by operator {CONFIG}")
    outage(machine, "JCONT-02")
    machine.until(f"cd /; {PANTAU} letters list {CONFIG} | grep JCONT-02")

    [block] = commands("docs/how-to/operator/backup.md", "Restore a backup")
    service_at_work = block.replace("systemctl stop pantau\n", "")
    machine.run(f"cd /; {with_backup_name(service_at_work, copy)}", code=1)
    expect(machine.run(f"cd /; {with_backup_name(block, copy)}"), "is the store now", "Letters and faxes are paused")
    expect_paused_paper(machine, "restored an older copy")
    outage(machine, "JCONT-03")
    machine.until(f"cd /; {PANTAU} paper status {CONFIG} | grep JCONT-03")
    resume_paper(machine, "JCONT-03")

    machine.run(f"systemctl stop pantau; rm /var/lib/pantau/pantau.sqlite*; cp {copy} /var/lib/pantau/pantau.sqlite")
    machine.run("chown pantau:pantau /var/lib/pantau/pantau.sqlite; systemctl start pantau")
    expect_paused_paper(machine, "the store is older than its high-water mark")
    outage(machine, "JCONT-04")
    resume_paper(machine, "JCONT-04")


def outage(machine: Machine, number: str) -> None:
    """Close the open incident, declare the next outage of the agency and release it."""
    machine.run(f"cd /; {PANTAU} close JCONT-01 --recovered --reason ujian --by operator {CONFIG} || true")
    machine.run(f"cd /; {PANTAU} declare JCONTOH both --reason ujian --by operator {CONFIG}")
    machine.run(f"cd /; {PANTAU} release {number} --by operator {CONFIG}")


def expect_paused_paper(machine: Machine, how: str) -> None:
    """Check that paper is paused and unknown letters are named."""
    output = machine.until(f"cd /; {PANTAU} paper status {CONFIG} | grep -B 9 -A 99 ' NO *$'")
    expect(output, how, "not in the store: ")


def resume_paper(machine: Machine, number: str) -> None:
    """Check that the letter is not in the tray, resume paper, and wait until it is."""
    listed = f"cd /; {PANTAU} letters list {CONFIG}"
    if number in machine.run(listed):
        raise Failed(f"{number} is in the tray before paper was resumed")
    expect(
        machine.run(
            f"cd /; {PANTAU} paper resume --reason 'looked at all letters with the clerk' --by operator {CONFIG}"
        ),
        "are sent again. Skipped numbers: JCONT-02",
    )
    machine.until(f"{listed} | grep {number}")


#: Creates a store of the first release with the data in `tests/contracts`.
FIRST_RELEASE = """
import json, pathlib, sqlite3
from monitor.store.schema.migrations import upgrade
upgrade("sqlite:////var/lib/pantau/pantau.sqlite", "0018")
text = pathlib.Path("tests/contracts/released.json").read_text()
text = text.replace("JCM-", "JCONT-").replace('"name": "JCM"', '"name": "JCONT"').replace("JCM", "JCONTOH")
with sqlite3.connect("/var/lib/pantau/pantau.sqlite") as store:
    for table, rows in json.loads(text).items():
        for row in rows:
            values = [json.dumps(value) if isinstance(value, list | dict) else value for value in row.values()]
            store.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", values)
"""


def upgrade(machine: Machine) -> None:
    """Start with a store of the first release, and with its backup: both are migrated and keep the history."""
    machine.run("systemctl stop pantau")
    machine.run("find /var/lib/pantau /var/spool/pantau -type f -not -name token.key -delete")
    machine.run(
        f"/opt/pantau/bin/python - <<'END'{FIRST_RELEASE}END\nchown pantau:pantau /var/lib/pantau/pantau.sqlite"
    )
    [backup] = commands("docs/how-to/operator/backup.md", "Back up")
    copy = machine.run(f"cd /; {backup}").split()[0]
    machine.run("systemctl start pantau")
    _expect_first_release(machine)
    [restore_command] = commands("docs/how-to/operator/backup.md", "Restore a backup")
    machine.run(f"cd /; {with_backup_name(restore_command, copy)}")
    _expect_first_release(machine)
    machine.run(f"cd /; {PANTAU} paper resume --reason ujian --by operator {CONFIG}")


def _expect_first_release(machine: Machine) -> None:
    expect(machine.run(f"cd /; {PANTAU} incidents {CONFIG}"), "JCONT-01")
    expect(machine.run(f"cd /; {PANTAU} audit verify {CONFIG}"), "The audit log is intact")
    expect(machine.run(f"cd /; {PANTAU} audit export {CONFIG} | head -1"), "incident opened", "2026-11-24")


def move(machine: Machine) -> None:
    """Move the store to PostgreSQL by docs/how-to/operator/postgresql.md, after a trial.

    Finally go back to SQLite, as a restored older copy.
    """
    [made] = commands(INSTALLING, "Several machines: PostgreSQL")
    machine.until("pg_isready")
    machine.run(f"cd /; printf '%s\\n' {2 * 'rahsia-contoh-yang-panjang '}| {{\n{made}}}")
    settings = "/etc/pantau/pantau.yaml"
    machine.run(f"install -o root -g pantau -m 0640 /dev/null /etc/pantau/secrets/pangkalan; cp -p {settings} /root/")
    machine.run("editor /etc/pantau/secrets/pangkalan")

    machine.run("cd /; sudo -u postgres createdb --owner pantau --encoding UTF8 --template template0 trial")
    machine.run("install -o root -g pantau -m 0640 /dev/null /etc/pantau/trial.yaml")
    machine.run(f"grep ^state_dir: {settings} > /etc/pantau/trial.yaml")
    at = "{url: postgresql://pantau@localhost/trial, password_file: secrets/pangkalan}"
    machine.run(f"echo 'store: {at}' >> /etc/pantau/trial.yaml")
    [trial] = commands("docs/how-to/operator/postgresql.md", "Estimate the time")
    expect(machine.run(f"cd /; {trial}"), "The file is a copy, and stays as it was")

    [copy] = commands("docs/how-to/operator/postgresql.md", "Move")
    edit(machine, *STORE_ON_SERVER)
    machine.run(f"{PANTAU} check --severity error {CONFIG}")
    expect(machine.run(f"cd /; {copy}", code=1), "nothing was copied: ")
    machine.run("systemctl stop pantau")
    before = machine.run(f"cd /; {PANTAU} audit export --store /var/lib/pantau/pantau.sqlite")
    output = machine.run(f"cd /; {copy}")
    expect(output, "each compared", "Start the service")
    machine.run("systemctl start pantau")
    expect(machine.run(f"cd /; {PANTAU} incidents {CONFIG}"), "JCONT-01")
    if not machine.run(f"cd /; {PANTAU} audit export {CONFIG}").startswith(before):
        raise Failed("the audit log on the server does not begin with that of the file")
    [backup] = commands("docs/how-to/operator/backup.md", "Back up")
    expect(machine.run(f"cd /; {backup}"), "pantau-.*dump")

    machine.run(f"systemctl stop pantau; cp -p {settings} /root/server.yaml; cp -p /root/pantau.yaml {settings}")
    expect(machine.run("systemctl start pantau", code=1), "control process exited with error code")
    expect(machine.run("systemctl show pantau -p ExecMainStatus"), "ExecMainStatus=78")
    expect(machine.run("journalctl -u pantau -o cat -n 20"), "PostgreSQL at localhost")
    machine.run(f"cd /; {PANTAU} restore /var/lib/pantau/pantau.sqlite {CONFIG}; systemctl start pantau")
    expect(machine.run(f"cd /; {PANTAU} paper status {CONFIG}"), r"restored an older copy .* NO *\n")


def remove(machine: Machine) -> None:
    """Remove it completely by docs/how-to/operator/maintenance.md."""
    for block in commands("docs/how-to/operator/maintenance.md", "The end"):
        machine.run(block)
    left = "find / -xdev -name '*pantau*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/var/backups/*'"
    if found := machine.run(f"{{ {left}; getent passwd pantau; getent group pantau pantau-tray; }} || true").strip():
        raise Failed(f"files or users are left:\n{found}")


STEPS: dict[str, Callable[[Machine], None]] = {
    "configure": configure,
    "check": check_running,
    "reload": reload,
    "break": crash,
    "letter": letter,
    "copy": copy,
    "put back": restore_backup,
    "upgrade": upgrade,
    "move": move,
    "remove": remove,
}


def main() -> int:
    """Run the steps; return the exit code."""
    asked = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    asked.add_argument("--directory", type=Path, default=Path("/var/tmp/pantau-machine"), help="Where it is made.")
    asked.add_argument("--suite", default="trixie", help="Debian's: bookworm or trixie.")
    options = asked.parse_args()
    missing = [name for name in ("debootstrap", "systemd-nspawn", "nsenter", "git") if shutil.which(name) is None]
    if os.getuid() != 0 or missing:
        print("This needs root" + (f", and {', '.join(missing)}" if missing else "") + ". It was not run.")
        return 2
    options.directory.mkdir(parents=True, exist_ok=True)
    machine = Machine(options.directory / "machine")
    began = time.monotonic()

    def run_step(name: str, step: Callable[[], None]) -> None:
        since = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        step()
        print(f"{time.monotonic() - since:.0f} s", flush=True)

    try:
        run_step("make", lambda: machine.make(options.suite, options.directory / options.suite))
        machine.clone(ROOT)
        run_step("install", lambda: install(machine))
        with machine.booted():
            for name, step in STEPS.items():
                run_step(name, lambda step=step: step(machine))  # type: ignore[misc]
    except Failed as failed:
        print(f"FAILED\n{failed}")
        return 1
    print(f"{len(STEPS) + 1} steps in {(time.monotonic() - began) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
