"""`pantau apply` and `pantau export`: agencies' documents between the files of a directory and the store."""

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
from monitor.cli.service import LONG, ask, belongs_to_another, control_socket, fail, is_open
from monitor.cli.table import day_and_time, legible
from monitor.config.files.document import LARGEST, agency_files, read_document, text_of
from monitor.config.files.regular import NotRegularFileError, read_regular
from monitor.config.files.section import IN_DATABASE
from monitor.model.document import FILE_NAME, digest_of

#: In the directory: the state of its files when they last equalled the store.
_MARKS = ".pantau-documents.json"
#: Maximum of agencies of a kind that are named; more are counted.
_NAMED = 20

_Directory = Annotated[Path, typer.Argument(help="The directory of the agency files.", metavar="DIRECTORY")]


def _versions_expected(words: list[str] | None) -> list[str] | None:
    for word in words or ():
        agency, equals, number = word.partition("=")
        if not (agency and equals and number.isdigit()):
            raise typer.BadParameter(f"'{word}' is not a version; write JCONTOH=7, as the refusal prints it")
    return words


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
            callback=_versions_expected,
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

    A version that somebody else has written meanwhile is shown and not overwritten. Exit code 2: a file has errors. 1: somebody
    else's version is in conflict.
    """
    _see_that_the_store_counts(config)
    marks = _Marks.of(directory)
    order: dict[str, Any] = {
        "by": by,
        "files": _files(directory),
        "started_from": marks.digests,
        "expect_version": {
            agency.upper(): int(number) for agency, _, number in (each.partition("=") for each in expect_version or ())
        },
        "prune": prune,
        "dry_run": dry_run,
        "no_reload": no_reload,
    }
    if len(order["files"]) > _NAMED:
        typer.echo(f"{len(order['files'])} files are checked together with the store ...", err=True)
    answer = _order(config, socket, order)
    _show(answer, directory)
    if answer["refused"]:
        fail("Nothing is written.", 1 if answer["clashes"] else 2)
    changes = len(answer["added"]) + len(answer["changed"]) + len(answer["removed"])
    if dry_run:
        typer.echo(f"Nothing is written; {changes} would be." if changes else "Nothing would be written.")
        return
    marks.see(answer["seen"])
    if not changes:
        typer.echo("The store is up to date.")
    elif answer["taken"] is None:
        typer.echo(f"{changes} written. A service applies them at its start, or with `pantau reload`.")
    elif answer["taken"]:
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

    A file that was edited there since is kept, and named.
    """
    _see_that_the_store_counts(config)
    versions = _versions(config, socket)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        fail(f"{directory} cannot be made: {error.strerror}")
    marks, names = _Marks.of(directory), _names(versions)
    written, edited, seen = list[str](), list[str](), dict[str, str]()
    for version in versions:
        agency, text, file = version["agency"], version["text"], directory / names[version["agency"]]
        there, wanted = _digest(file), "" if text is None else digest_of(text)
        if there not in {wanted, "", marks.digests.get(agency)}:
            edited.append(
                f"{file}: was edited since; `pantau apply {directory}` writes it to the store, or move it away"
            )
            continue
        if there != wanted:
            _replace(file, text)
            written.append(f"{file}: " + ("removed" if text is None else f"version {version['number']}"))
        seen[agency] = wanted
    marks.see(seen)
    for line in (*_some(written), *edited):
        typer.echo(legible(line))
    agencies = sum(1 for version in versions if version["text"] is not None)
    typer.echo(
        f"Of {agencies} in the store: {len(written)} written to {directory}, {len(edited)} kept because they were edited."
    )
    if edited:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Marks:
    """The files of a directory when they last equalled the store, by agency."""

    file: Path
    digests: dict[str, str]

    @classmethod
    def of(cls, directory: Path) -> _Marks:
        file = directory / _MARKS
        try:
            digests = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            digests = {}
        except (OSError, ValueError):
            digests = None
        if not isinstance(digests, dict) or not all(isinstance(each, str) for each in digests.values()):
            fail(f"{file} cannot be read; move it away, and `pantau apply` compares all files", 2)
        return cls(file, digests)

    def see(self, seen: Mapping[str, str]) -> None:
        """Record what is equal from now on."""
        if all(self.digests.get(agency) == digest for agency, digest in seen.items()):
            return
        self.digests.update(seen)
        try:
            _replace(self.file, json.dumps(self.digests, indent=0, sort_keys=True) + "\n")
        except OSError as error:
            typer.echo(f"{self.file} cannot be written ({error.strerror}): the next apply compares all files", err=True)


def _see_that_the_store_counts(config: Path) -> None:
    found = read_document(config)
    if found.readable and found.data.get("agencies") != str(IN_DATABASE):
        fail(
            f"{config}: agencies: is a directory, so its files are used and not the store; write instead: agencies: {IN_DATABASE}\n"
            "The store has those files as the service last read them; `pantau export` writes them.",
            2,
        )


def _files(directory: Path) -> Sequence[Mapping[str, str]]:
    """Return the agency files for the request. End the command if one is unreadable, or there is none."""
    try:
        files = agency_files(directory)
    except OSError as error:
        fail(f"{directory} cannot be read: {error.strerror}", 2)
    if not files:
        fail(f"{directory} holds no agency file (*.yaml)", 2)
    found, wrong = list[Mapping[str, str]](), list[str]()
    for file in files:
        if not str(file).isprintable():
            wrong.append(
                f"{str(file)!a}: has characters that cannot be printed; write instead: a name in plain letters"
            )
            continue
        try:
            text = text_of(read_regular(file, LARGEST))
        except (OSError, ValueError, NotRegularFileError):
            wrong += map(str, read_document(file).problems)
            continue
        found.append({"called": str(file), "name": file.name, "text": text})
    if wrong:
        fail("\n".join([*wrong, "Nothing is written."]), 2)
    return found


def _digest(file: Path) -> str:
    """Return the digest of a file's text; "" if it is missing."""
    try:
        return digest_of(text_of(read_regular(file, LARGEST)))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, NotRegularFileError):
        return "unreadable"


def _replace(file: Path, text: str | None) -> None:
    """Replace a file by *text* atomically; `None`: delete it."""
    if text is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, "utf-8", newline="")
    part.replace(file)


def _names(versions: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return the file name of each agency's document: two from different directories may have the same name."""
    names, taken = dict[str, str](), set[str]()
    for version in versions:
        name = version["name"] if re.fullmatch(FILE_NAME, version["name"]) else ""
        if not name or name.casefold() in taken:
            name = f"{version['agency'].lower()}.yaml"
        taken.add(name.casefold())
        names[version["agency"]] = name
    return names


def _order(config: Path, socket: Path | None, order: Mapping[str, Any]) -> Any:
    """Let the running service execute the request, or execute it here if none is running."""
    where = control_socket(config, socket)
    if socket is not None or is_open(where) or belongs_to_another(where):
        return ask(config, socket, "POST", "/documents", order, within=LONG)
    from monitor.cli.store.unattended import write_documents  # noqa: PLC0415 - all that a service needs

    return write_documents(config, where.parent, order)


def _versions(config: Path, socket: Path | None) -> Sequence[Mapping[str, Any]]:
    where = control_socket(config, socket)
    if socket is not None or is_open(where) or belongs_to_another(where):
        found: Sequence[Mapping[str, Any]] = ask(config, socket, "GET", "/documents", within=LONG)
        return found
    from monitor.cli.store.unattended import stored_documents  # noqa: PLC0415 - all that a service needs

    return stored_documents(config, where.parent)


def _show(answer: Mapping[str, Any], directory: Path) -> None:
    lines = [str(problem) for problem in answer["problems"]]
    for clash in answer["clashes"]:
        lines += _clash(clash, directory)
    lines += _some([f"+ {agency}: new" for agency in answer["added"]])
    for change in answer["changed"]:
        before = change["before"]
        called = f"{before['agency']} version {before['number']} ({_written(before)})", before["name"]
        lines += _diff(before["text"] or "", change["text"], *called)
    lines += _some([f"- {agency}: removed" for agency in answer["removed"]])
    lines += _some(
        [
            f"  {each['agency']}: version {each['number']} in the store is newer ({_written(each)}), and stays; "
            f"`pantau export {directory}` fetches it"
            for each in answer["newer"]
        ]
    )
    lines += _some([f"  {each}: is in the store only, and stays; --prune removes it" for each in answer["missing"]])
    for line in lines:
        typer.echo(legible(line))


def _clash(clash: Mapping[str, Any], directory: Path) -> Sequence[str]:
    """Return the edits of both sides, and what to do."""
    theirs, ours, common = clash["theirs"], clash["ours"], clash["common"]
    agency, number = theirs["agency"], theirs["number"]
    what = "removed it" if theirs["text"] is None else "wrote it"
    lines = [f"! {agency}: somebody else {what} meanwhile: version {number}, {_written(theirs)}."]
    if ours is None:
        lines.append("  You would remove it without having seen that version.")
    if common is not None:
        lines += _diff(common, theirs["text"] or "", "common version", "theirs")
        lines += _diff(common, ours or "", "common version", "yours")
    else:
        lines += _diff(theirs["text"] or "", ours or "", "theirs", "yours")
    return [
        *lines,
        f"  Merge theirs into your file, or overwrite it: pantau apply {directory} --expect-version {agency}={number}",
    ]


def _written(version: Mapping[str, Any]) -> str:
    return f"by {version['by']}, {day_and_time(version['at'])}, {version['source']}"


def _diff(before: str, after: str, what: str, becomes: str) -> Sequence[str]:
    return list(unified_diff(before.splitlines(), after.splitlines(), what, becomes, lineterm="", n=2))


def _some(lines: Sequence[str]) -> Sequence[str]:
    more = [f"  and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return [*lines[:_NAMED], *more]
