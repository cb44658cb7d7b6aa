"""Reproducible build of a release from the checked-out commit: see CONTRIBUTING.md.

A commit always gives the same octets, on any machine. `make release` runs this program; with the argument `wheels` it
builds only the two wheels of any tree, for the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Heading of a version in the changelog, which is edited by hand for a release.
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """Run a program, and return its output. Raise `CalledProcessError` if it fails."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | environ, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def not_ready(changelog: str, version: str, changed: Sequence[str]) -> list[str]:
    """Return the reasons why the tree cannot be released as *version*, one sentence each.

    *changed*: lines of `git status --porcelain`.
    """
    below = dict(zip(HEADING.findall(changelog), HEADING.split(changelog)[2::2], strict=True))
    dated = re.compile(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d(?: \(commit [0-9a-f]{{8,40}}\))?")
    released = [heading for heading in below if dated.fullmatch(heading)]
    problems = {
        "These files are not committed:\n" + "\n".join(changed): bool(changed),
        f"CHANGELOG.md has no section '## {version} - YEAR-MONTH-DAY' with what changed": not any(
            below[heading].strip() for heading in released
        ),
        "CHANGELOG.md tells under 'Unreleased' of what is going to be released": bool(
            below.get("Unreleased", "").strip()
        ),
    }
    return [sentence for sentence, applies in problems.items() if applies]


def wheels(source: Path, directory: Path, *, epoch: str) -> None:
    """Build both wheels of the tree *source*. *epoch*, in seconds, is the time of every file in them."""
    for project in (source, source / "lab"):
        build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory.resolve())
        run(*build, cwd=project, SOURCE_DATE_EPOCH=epoch)


def install(wheel: Path, requirements: Path, environment: Path) -> None:
    """Install the wheel and the locked requirements into a new environment, as an operator does."""
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment)
    run(*pip, "install", "--quiet", "--no-compile", "--require-hashes", "--requirement", requirements)
    run(*pip, "install", "--quiet", "--no-compile", "--no-index", "--no-deps", wheel)
    run(*pip, "check")


def without_addresses(part: Json) -> Json:
    """Return a bill of materials without download addresses: the hashes in the lock file identify its components.

    Remove the descriptions of the components, too, because some contain such addresses.
    """
    if isinstance(part, dict):
        kept = part.keys() - {"externalReferences", "description"}
        return {key: without_addresses(value) for key, value in part.items() if key in kept}
    return [without_addresses(each) for each in part] if isinstance(part, list) else part


def bill_of_materials(environment: Path, *, epoch: str) -> str:
    """Return a CycloneDX bill of materials of *environment*: names, versions, licences and dependencies."""
    bill = run(
        Path(sys.executable).with_name("cyclonedx-py"), "environment", "--spec-version", "1.6", "--output-reproducible",
        "--pyproject", ROOT / "pyproject.toml", environment, SOURCE_DATE_EPOCH=epoch, PYTHONWARNINGS="ignore",
    )  # fmt: skip
    return json.dumps(without_addresses(json.loads(bill)), indent=1, sort_keys=True) + "\n"


def sums(directory: Path) -> str:
    """Return the checksums of the files in *directory* in the format of `sha256sum --check`."""
    return "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(directory.iterdir())
    )


def main() -> None:
    """Build the release of the checked-out commit into `dist/`, or end with the reasons why it cannot be released."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changed = run("git", "status", "--porcelain").splitlines()
    lacks = not_ready((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version, changed)
    if lacks:
        sys.exit("\n".join([f"Pantau {version} cannot be released yet.", *lacks]))

    commit, epoch = run("git", "log", "-1", "--format=%H %ct").split()
    built = ROOT / "dist" / version
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        # Build from a clone of this tree, so that no file that git ignores gets into a wheel.
        source, environment = Path(scratch) / "source", Path(scratch) / "environment"
        run("git", "clone", "--quiet", "--no-local", ROOT, source)
        wheels(source, built, epoch=epoch)
        lock = shutil.copyfile(source / "requirements" / "service.txt", built / "requirements.txt")
        install(built / f"pantau-{version}-py3-none-any.whl", lock, environment)
        says = run(environment / "bin" / "pantau", "--version")
        if says != f"pantau {version}":
            sys.exit(f"The wheel of {version} calls itself {says!r}")
        (built / "pantau.cdx.json").write_text(bill_of_materials(environment, epoch=epoch), encoding="utf-8")
    (built / "SHA256SUMS").write_text(sums(built), encoding="utf-8")
    print((built / "SHA256SUMS").read_text(encoding="utf-8"), end="")
    print(f"\nIn dist/{version}. When another clone has made the same sums: git tag -s v{version} {commit}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["wheels", source, directory, epoch]:
            wheels(Path(source), Path(directory), epoch=epoch)
        case _:
            sys.exit("usage: release.py [wheels SOURCE DIRECTORY EPOCH]")
