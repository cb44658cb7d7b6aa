"""`pantau apply` and `pantau export`: copy agency documents (YAML) between a directory and the store (the database)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor.cli.option import DEFAULT_CONFIG, By, Config, Socket
from monitor.cli.service import LONG_TIMEOUT, belongs_to_another, call_service, control_socket, fail, is_open
from monitor.cli.table import format_day_and_time, remove_control_characters
from monitor.config.files.document import MAX_OCTETS, decode_text, list_agency_files, read_document
from monitor.config.files.regular import NotRegularFileError, read_regular
from monitor.config.files.section import IN_DATABASE
from monitor.model.document import FILE_NAME, digest_of

#: File in the directory with the digest of each document at the time when its file last equalled the store. The digests
#: show whether the file or the document in the store was edited since.
_STATE_FILE = ".pantau-documents.json"
#: Maximum of agencies in a list; the rest is counted.
_MAX_LISTED = 20

_Directory = Annotated[Path, typer.Argument(help="The directory of the agency files.", metavar="DIRECTORY")]


def _check_versions(expected: list[str] | None) -> list[str] | None:
    for version in expected or ():
        agency, equals, number = version.partition("=")
        if not (agency and equals and number.isdigit()):
            raise typer.BadParameter(f"'{version}' is not a version; write JCONTOH=7, as the refusal prints it")
    return expected


def apply(
    directory: _Directory,
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Remove agencies that have no file in the directory.")] = False,
    expect_version: Annotated[
        list[str] | None,
        typer.Option(
            "--expect-version",
            help="Overwrite this version, which somebody else has written meanwhile.",
            metavar="CODE=VERSION",
            callback=_check_versions,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    no_reload: Annotated[
        bool, typer.Option("--no-reload", help="Write only; the service applies it with its next reload or rename.")
    ] = False,
    by: By = "",
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Write the agency files of a directory to the store, all or none, and show the differences.

    A version that somebody else has written meanwhile is shown and not overwritten. Exit code 2: a file has errors. 1: a file
    conflicts with such a version.
    """
    _require_database_mode(config)
    saved_state = _SavedState.load(directory)
    body: dict[str, Any] = {
        "by": by,
        "files": _read_files(directory),
        "started_from": saved_state.digests,
        "expect_version": {
            agency.upper(): int(number) for agency, _, number in (each.partition("=") for each in expect_version or ())
        },
        "prune": prune,
        "dry_run": dry_run,
        "no_reload": no_reload,
    }
    if len(body["files"]) > _MAX_LISTED:
        typer.echo(f"{len(body['files'])} files are checked together with the store ...", err=True)
    # Keys of the result: `clashes` are conflicts of edits; `seen` has the digest of each document that equals its
    # file now; `taken` is whether the service has applied the documents, or `None` if it was not asked to.
    result = _send(config, socket, body)
    _print_changes(result, directory)
    if result["refused"]:
        fail("Nothing is written.", 1 if result["clashes"] else 2)
    changes = len(result["added"]) + len(result["changed"]) + len(result["removed"])
    if dry_run:
        typer.echo(f"Nothing is written; {changes} would be." if changes else "Nothing would be written.")
        return
    saved_state.record(result["seen"])
    if not changes:
        typer.echo("The store is up to date.")
    elif result["taken"] is None:
        typer.echo(f"{changes} written. A service applies them at its start, or with `pantau reload`.")
    elif result["taken"]:
        typer.echo(f"{changes} written. The service has applied them.")
    else:
        fail(f"{changes} written. The service has NOT applied them: the configuration before them stays active.", 2)


def export(
    directory: _Directory,
    *,
    config: Config = DEFAULT_CONFIG,
    socket: Socket = None,
) -> None:
    """Write the agency documents of the store as files into a directory.

    A file that was edited since its last export or apply is kept and listed.
    """
    _require_database_mode(config)
    versions = _fetch_versions(config, socket)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        fail(f"{directory} cannot be created: {error.strerror}")
    saved_state, names = _SavedState.load(directory), _file_names(versions)
    written_lines, edited_lines, in_sync = list[str](), list[str](), dict[str, str]()
    for version in versions:
        agency, text, file = version["agency"], version["text"], directory / names[version["agency"]]
        file_digest, stored_digest = _digest(file), "" if text is None else digest_of(text)
        # The file exists, and equals neither the stored document nor what the last export or apply left.
        if file_digest not in {stored_digest, "", saved_state.digests.get(agency)}:
            edited_lines.append(
                f"{file}: was edited since; `pantau apply {directory}` writes it to the store, or move it away"
            )
            continue
        if file_digest != stored_digest:
            _replace_file(file, text)
            written_lines.append(f"{file}: " + ("removed" if text is None else f"version {version['number']}"))
        in_sync[agency] = stored_digest
    saved_state.record(in_sync)
    for line in (*_limit(written_lines), *edited_lines):
        typer.echo(remove_control_characters(line))
    agencies = sum(1 for version in versions if version["text"] is not None)
    typer.echo(
        f"Of {agencies} in the store: {len(written_lines)} written to {directory}, {len(edited_lines)} kept because they were edited."
    )
    if edited_lines:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _SavedState:
    """Digests of the documents when the directory's files were last equal to the store, by agency."""

    file: Path
    digests: dict[str, str]

    @classmethod
    def load(cls, directory: Path) -> _SavedState:
        file = directory / _STATE_FILE
        try:
            digests = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            digests = {}
        except (OSError, ValueError):
            digests = None
        if not isinstance(digests, dict) or not all(isinstance(each, str) for each in digests.values()):
            fail(f"{file} cannot be read; move it away, and `pantau apply` compares all files", 2)
        return cls(file, digests)

    def record(self, digests: Mapping[str, str]) -> None:
        """Save the digests of documents that are equal now."""
        if all(self.digests.get(agency) == digest for agency, digest in digests.items()):
            return
        self.digests.update(digests)
        try:
            _replace_file(self.file, json.dumps(self.digests, indent=0, sort_keys=True) + "\n")
        except OSError as error:
            typer.echo(f"{self.file} cannot be written ({error.strerror}): the next apply compares all files", err=True)


def _require_database_mode(config: Path) -> None:
    document = read_document(config)
    if document.readable and document.data.get("agencies") != str(IN_DATABASE):
        fail(
            f"{config}: agencies: is a directory, so its files are used and not the store; write instead: agencies: {IN_DATABASE}\n"
            "The store has those files as the service last read them; `pantau export` writes them.",
            2,
        )


def _read_files(directory: Path) -> Sequence[Mapping[str, str]]:
    """Return the agency files of a directory as JSON values. End the command if one is unreadable, or there is none."""
    try:
        files = list_agency_files(directory)
    except OSError as error:
        fail(f"{directory} cannot be read: {error.strerror}", 2)
    if not files:
        fail(f"{directory} holds no agency file (*.yaml)", 2)
    documents, problem_texts = list[Mapping[str, str]](), list[str]()
    for file in files:
        if not str(file).isprintable():
            problem_texts.append(
                f"{str(file)!a}: has characters that cannot be printed; write instead: a name in plain letters"
            )
            continue
        try:
            text = decode_text(read_regular(file, MAX_OCTETS))
        except (OSError, ValueError, NotRegularFileError):
            problem_texts += map(str, read_document(file).problems)
            continue
        documents.append({"called": str(file), "name": file.name, "text": text})
    if problem_texts:
        fail("\n".join([*problem_texts, "Nothing is written."]), 2)
    return documents


def _digest(file: Path) -> str:
    """Return the digest of a file's text; "" if it is missing, and "unreadable" if it cannot be read."""
    try:
        return digest_of(decode_text(read_regular(file, MAX_OCTETS)))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, NotRegularFileError):
        return "unreadable"


def _replace_file(file: Path, text: str | None) -> None:
    """Replace the content of a file by *text* atomically; `None`: delete the file."""
    if text is None:
        file.unlink(missing_ok=True)
        return
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_text(text, "utf-8", newline="")
    temporary.replace(file)


def _file_names(versions: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return a file name for each agency's document. Resolve equal names, which documents of different directories may have."""
    names, used_names = dict[str, str](), set[str]()
    for version in versions:
        name = version["name"] if re.fullmatch(FILE_NAME, version["name"]) else ""
        if not name or name.casefold() in used_names:
            name = f"{version['agency'].lower()}.yaml"
        used_names.add(name.casefold())
        names[version["agency"]] = name
    return names


def _send(config: Path, socket: Path | None, body: Mapping[str, Any]) -> Any:
    """Send the request to the running service; if none is running, execute it in this process."""
    control = control_socket(config, socket)
    if socket is not None or is_open(control) or belongs_to_another(control):
        return call_service(config, socket, "POST", "/documents", body, timeout=LONG_TIMEOUT)
    from monitor.cli.store.unattended import write_documents  # noqa: PLC0415 - slow: imports the whole service

    return write_documents(config, control.parent, body)


def _fetch_versions(config: Path, socket: Path | None) -> Sequence[Mapping[str, Any]]:
    control = control_socket(config, socket)
    if socket is not None or is_open(control) or belongs_to_another(control):
        versions: Sequence[Mapping[str, Any]] = call_service(config, socket, "GET", "/documents", timeout=LONG_TIMEOUT)
        return versions
    from monitor.cli.store.unattended import stored_documents  # noqa: PLC0415 - slow: imports the whole service

    return stored_documents(config, control.parent)


def _print_changes(result: Mapping[str, Any], directory: Path) -> None:
    lines = [str(problem) for problem in result["problems"]]
    for clash in result["clashes"]:
        lines += _format_clash(clash, directory)
    lines += _limit([f"+ {agency}: new" for agency in result["added"]])
    for change in result["changed"]:
        before = change["before"]
        headings = f"{before['agency']} version {before['number']} ({_author(before)})", before["name"]
        lines += _format_diff(before["text"] or "", change["text"], *headings)
    lines += _limit([f"- {agency}: removed" for agency in result["removed"]])
    lines += _limit(
        [
            f"  {each['agency']}: version {each['number']} in the store is newer ({_author(each)}), and stays; "
            f"`pantau export {directory}` fetches it"
            for each in result["newer"]
        ]
    )
    lines += _limit([f"  {each}: is in the store only, and stays; --prune removes it" for each in result["missing"]])
    for line in lines:
        typer.echo(remove_control_characters(line))


def _format_clash(clash: Mapping[str, Any], directory: Path) -> Sequence[str]:
    """Return the lines that show a conflict: the edits of both sides, and the remedy.

    In *clash*, `theirs` is the version in the store, `ours` the file's text (`None`: removed), and `common` the text from
    which both started (`None`: unknown).
    """
    stored, submitted, common = clash["theirs"], clash["ours"], clash["common"]
    agency, number = stored["agency"], stored["number"]
    verb = "removed it" if stored["text"] is None else "wrote it"
    lines = [f"! {agency}: somebody else {verb} meanwhile: version {number}, {_author(stored)}."]
    if submitted is None:
        lines.append("  You would remove it without having seen that version.")
    if common is not None:
        lines += _format_diff(common, stored["text"] or "", "common version", "theirs")
        lines += _format_diff(common, submitted or "", "common version", "yours")
    else:
        lines += _format_diff(stored["text"] or "", submitted or "", "theirs", "yours")
    return [
        *lines,
        f"  Merge theirs into your file, or overwrite it: pantau apply {directory} --expect-version {agency}={number}",
    ]


def _author(version: Mapping[str, Any]) -> str:
    return f"by {version['by']}, {format_day_and_time(version['at'])}, {version['source']}"


def _format_diff(before: str, after: str, before_name: str, after_name: str) -> Sequence[str]:
    return list(unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="", n=2))


def _limit(lines: Sequence[str]) -> Sequence[str]:
    rest = [f"  and {len(lines) - _MAX_LISTED} more"] if len(lines) > _MAX_LISTED else []
    return [*lines[:_MAX_LISTED], *rest]
