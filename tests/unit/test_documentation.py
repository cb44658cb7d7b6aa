"""The documents match the code."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml

from alerts.model.delivery import AttemptState
from alerts.model.incident import TRANSITIONS
from monitor.access.api_token import MAX_TOKEN_LIFETIME
from monitor.access.device import DEVICE_LIFETIME
from monitor.access.invitation_code import CodeKind
from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, MAX_ACCOUNT_FAILURES, UNLOCK_DURATION
from monitor.access.password import MIN_PASSWORD_LENGTH
from monitor.access.totp import RECOVERY_CODE_COUNT
from monitor.cli import COMMANDS, load_command
from monitor.evaluation.joint.freshness import STALE_AFTER
from monitor.evaluation.liveness import DATABASE_TIMEOUT
from monitor.evaluation.out_of_band import OutOfBandPolicy
from monitor.planning.concurrency import DEFAULT_LIMIT
from monitor.planning.schedule import CATCH_UP, HOURS_SPREAD, JITTER, MAX_JITTER
from pantau_lab.faultlab.command import USAGE
from pantau_lab.faultlab.symptom import SYMPTOMS
from pantau_lab.mail import Fault

ROOT = Path(__file__).parents[2]

PACKAGES = ("monitor", "probes", "alerts")

#: Beginnings of the docstring lines of a test with a marker.
MARKER_DOCSTRINGS = {
    "pitfall": ("Trap: ", "Pantau: "),
    "falsegreen": ("Defect: ", "Pantau: "),
    "peerbug": (r"Defect \([\w, -]+\): ", "Pantau: "),
    "story": (r"\S",),
    "blind": ("Defect: ", "Pantau: "),
}

#: Written backwards, so that this file does not name them.
REGISTRIES = tuple(name[::-1] for name in ("gro.ipyp", "gro.detsohnohtyp", "moc.sjmpn"))
#: Paths that exist only on a developer's machine.
LOCAL_PATHS = re.compile(r"(?<![\w.}~-])/(?:home|Users|work|workspace|builds?)/[\w.-]+")


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files of the repository, also uncommitted ones, without ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def markdown() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def current(path: Path) -> str:
    """Return a document without the changelog's releases, which have old names."""
    return re.split(r"^## \d", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[0]


def texts() -> Iterator[tuple[str, str]]:
    """Return the name and the text of every file that is text."""
    for path in tracked():
        octets = path.read_bytes()
        if b"\0" not in octets:
            yield relative(path), octets.decode("utf-8", "replace")


def rows(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables in a section, down to the next heading."""
    section = re.split(r"^#+ ", read(name).partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines][1:]


def first_code(row: list[str]) -> str:
    return row[0].strip().strip("`")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- the command line -----------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    for name in COMMANDS:
        yield f"pantau {name}"
        yield from (f"pantau {name} {inner}" for inner in getattr(load_command(name), "commands", ()))


def test_command_reference_lists_each_command_once() -> None:
    documented = re.findall(r"^\| `(pantau [a-z -]+)` \| ", read("docs/reference/commands.md"), re.MULTILINE)
    assert sorted(documented) == sorted(commands())


def test_documents_name_only_existing_commands() -> None:
    known = {command.split()[1] for command in commands()}
    named = {
        (relative(path), word)
        for path in markdown()
        for word in re.findall(r"(?:`|bin/|-- )pantau ([a-z][a-z-]*)", current(path))
    }
    assert {(path, word) for path, word in named if word not in known} == set()


def test_demo_names_only_existing_faults() -> None:
    shown = {first_code(row) for row in rows("docs/tutorials/demo.md", "Break a mail system")}
    assert len(shown) > 5
    assert shown <= {fault.value for fault in Fault}


def test_lab_faults_are_documented_with_probe_outcomes() -> None:
    documented = [[first_code(row), *row[1:]] for row in rows("lab/README.md", "Faults")]
    symptoms = ((fault, SYMPTOMS[fault]) for fault in Fault)
    assert documented == [[fault, fault.seen, each.internal, each.outbound, each.inbound] for fault, each in symptoms]


def test_lab_commands_are_documented() -> None:
    assert [first_code(row) for row in rows("lab/README.md", "The fault lab")] == list(USAGE.values())


def test_documents_name_only_existing_make_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set()
    for path in markdown():
        for line in re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            named |= set(line.split())
    assert {"run", "test"} <= named <= targets


def test_pre_commit_hooks_equal_checks_of_make_test() -> None:
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local", "tools of another place are tools of other versions"
    before_a_commit = [hook["entry"].split() for hook in repository["hooks"]]
    assert {words[0] for words in before_a_commit} == {"make"}
    recipe = re.compile(r"^(test|waiting|computing):.*\n((?:\t.*\n)+)", re.MULTILINE)
    recipes = {name: re.findall(r"\$\(MAKE\) (.*)", lines) for name, lines in recipe.findall(read("Makefile"))}
    made = {
        name: {word for line in lines for word in line.split() if word[0] != "-"} for name, lines in recipes.items()
    }
    assert {"waiting", "computing"} <= made["test"]
    beside = set().union(*made.values()) - {"needed", "waiting", "computing", "compiled", "proofs", "unit"}
    assert {words[-1] for words in before_a_commit} == beside


# -- the tree -------------------------------------------------------------------------------------------------------


def modules() -> Iterator[Path]:
    """Return every module of the product and of the lab, also those that are a package."""
    for package in (*PACKAGES, "lab/pantau_lab"):
        yield from sorted((ROOT / package).rglob("*.py"))


def summary(path: Path) -> str:
    """Return the first paragraph of a module's docstring."""
    docstring = ast.get_docstring(tree(path)) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("package", PACKAGES)
def test_architecture_layers_of_a_package_are_its_folders_and_modules(package: str) -> None:
    (rule,) = re.findall(rf"^\d+\. Inside `{package}`[^:]*: (.+)\.$", read("ARCHITECTURE.md"), re.MULTILINE)
    inside = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(re.findall(r"`(\w+)`", rule)) == sorted(path.stem for path in inside if path.stem != "__init__")
    assert [path.name for path in inside if not summary(path if path.suffix else path / "__init__.py")] == []


def test_modules_have_unique_docstring_summaries() -> None:
    said = {path: summary(path) for path in modules()}
    assert [relative(path) for path, text in said.items() if not text.endswith(".")] == []
    assert [text for text, times in Counter(said.values()).items() if times > 1] == []


def test_documents_name_only_existing_paths() -> None:
    places = "|".join((*PACKAGES, "lab", "tests", "grafana", "deploy", "docs", "requirements"))
    missing = {
        (relative(path), named)
        for path in markdown()
        for named in re.findall(rf"`((?:{places})/[\w./-]*)`", path.read_text(encoding="utf-8"))
        if not (ROOT / named).exists() and named not in EXAMPLE_FILES
    }
    assert missing == set()


def exists_in_code(name: str) -> bool:
    """Whether a dotted name is a package, a module, or a name in a module."""
    place = (ROOT / "lab" if name.startswith("pantau_lab") else ROOT) / name.replace(".", "/")
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    for module in place.parents:
        if (file := module.with_suffix(".py")).is_file():
            return all(re.search(rf"\b{each}\b", read(relative(file))) for each in place.relative_to(module).parts)
    return False


def test_modules_name_only_existing_modules() -> None:
    named = [
        (relative(path), name)
        for path in modules()
        for name in re.findall(r"`((?:monitor|alerts|probes|pantau_lab)(?:\.\w+)+)`", read(relative(path)))
    ]
    assert len(named) > 20
    assert [(path, name) for path, name in named if not exists_in_code(name)] == []


def members() -> Iterator[str]:
    """Return the members of the product's classes, as documents write them: `Prober.run`."""
    for path in modules():
        nodes = ast.walk(tree(path))
        for owner in (node for node in nodes if isinstance(node, ast.ClassDef)):
            for inner in owner.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{owner.name}.{inner.name}"
                elif isinstance(inner, ast.AnnAssign):
                    yield f"{owner.name}.{ast.unparse(inner.target)}"


def test_explanations_name_only_existing_class_members() -> None:
    pages = ["ARCHITECTURE.md", *(relative(path) for path in (ROOT / "docs" / "explanation").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`([A-Z]\w*\.[a-z_]+)`", read(page))} - {"README.md"}
    assert len(named) > 8
    assert named - set(members()) == set()


#: Files of the examples in CONTRIBUTING.md, which a contributor writes.
EXAMPLE_FILES = {
    "alerts/gateways/kannel.py",
    "tests/unit/alerts/gateways/test_kannel.py",
    "probes/kinds/reverse_dns.py",
    "tests/unit/probes/kinds/test_reverse_dns_run.py",
}


def test_import_contracts_are_documented_with_layers() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    section = read("ARCHITECTURE.md").partition("## Three packages")[2].partition("\n## ")[0]
    documented = [" ".join(rule.split()) for rule in re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]]
    assert len(documented) == len(contracts)
    inside = {rule for rule in documented if rule.startswith("Inside `")}
    assert len(inside) == sum("containers" in contract for contract in contracts)
    for contract in (contract for contract in contracts if "containers" in contract):
        layers = "; ".join(re.sub(r"(\w+)", r"`\1`", layer).replace(" | ", ", ") for layer in contract["layers"])
        assert any(rule.endswith(f": {layers}.") for rule in inside), contract["name"]


def test_decision_folders_equal_import_contract() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    held = next(
        contract["source_modules"] for contract in contracts if contract["name"].startswith("decisions do no I/O")
    )
    documented = re.findall(r"`([a-z/]+/)`", " ".join(row[0] for row in rows("ARCHITECTURE.md", "Decide and do")))
    assert sorted(documented) == sorted(f"{module.replace('.', '/')}/" for module in held)


# -- lives ----------------------------------------------------------------------------------------------------------


def test_incident_transitions_match_code() -> None:
    documented = [tuple(row) for row in rows("docs/explanation/incident.md", "States and events")]
    assert documented == [(str(state), event.__name__, str(after)) for (state, event), after in TRANSITIONS.items()]


def test_attempt_states_are_documented() -> None:
    documented = rows("docs/explanation/delivery.md", "Attempt states")
    assert [row[0] for row in documented] == [str(state) for state in AttemptState]


def test_class_names_are_unique_and_glossary_names_only_existing() -> None:
    folders = [ROOT / package for package in PACKAGES] + [ROOT / "lab" / "pantau_lab"]
    parsed = [tree(path) for folder in folders for path in folder.rglob("*.py")]
    names = [node.name for module in parsed for node in module.body if isinstance(node, ast.ClassDef)]
    public = Counter(name for name in names if not name.startswith("_"))
    assert [name for name, times in public.items() if times > 1] == []
    named = re.findall(r"`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)`", read("GLOSSARY.md"))
    assert [name for name in named if name not in public] == []


def test_glossary_terms_have_meaning_and_source() -> None:
    lines = [line for line in read("GLOSSARY.md").splitlines() if line.startswith("| ")]
    assert [line for line in lines if len(line.strip("|").split(" | ")) != 3] == []


def test_glossary_terms_are_unique() -> None:
    words = [
        word
        for section in re.findall(r"^## (.+)$", read("GLOSSARY.md"), re.MULTILINE)
        for row in rows("GLOSSARY.md", section)
        for word in re.sub(r" ?`.*", "", row[0]).split(", ")
    ]
    assert len(words) > 100
    assert [word for word, times in Counter(words).items() if times > 1] == []


def test_glossary_is_short_mostly_standard_and_used() -> None:
    sections = re.findall(r"^## (.+)$", read("GLOSSARY.md"), re.MULTILINE)
    table = [row for section in sections for row in rows("GLOSSARY.md", section)]
    assert len(table) <= 120
    assert 4 * sum(row[2] == "ours" for row in table) <= len(table)
    written = " ".join(text for name, text in texts() if name not in {"GLOSSARY.md", "CHANGELOG.md"})
    plain = re.sub(r"[\s_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", written)).lower()
    words = [word.lower().replace("-", " ") for row in table for word in row[0].split(", ")]
    assert [word for word in words if not re.search(rf"\b{word}", plain)] == []


# -- runbooks and decisions -----------------------------------------------------------------------------------------


def alert_rules() -> dict[str, str]:
    groups = yaml.safe_load(read("grafana/rules/pantau.rules.yml"))["groups"]
    return {
        rule["alert"]: rule["annotations"]["runbook_url"].rpartition("}}")[2].removesuffix(".md")
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }


#: Without the index.
RUNBOOKS = [path for path in (ROOT / "docs" / "runbooks").glob("*.md") if path.name != "README.md"]


def test_alerts_and_runbooks_correspond() -> None:
    written = {path.stem: path for path in RUNBOOKS}
    assert set(written) == set(alert_rules().values())
    for alert, runbook in alert_rules().items():
        assert f"`{alert}`" in written[runbook].read_text(encoding="utf-8"), alert


def test_runbook_index_lists_alerts_and_titles() -> None:
    listed = re.findall(r"^- \[(.+)\]\((.+)\.md\): (.+)$", read("docs/runbooks/README.md"), re.MULTILINE)
    assert {alert: stem for _, stem, alerts in listed for alert in re.findall(r"`(\w+)`", alerts)} == alert_rules()
    titles = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in RUNBOOKS}
    assert {stem: f"# {title}" for title, stem, _ in listed} == titles


def test_runbooks_have_malay_summary_and_all_sections() -> None:
    for path in RUNBOOKS:
        text = path.read_text(encoding="utf-8")
        parts = ["**Ringkasan:** ", "\n\nUse this page when ", "\n## What it means\n", "\n## What users notice\n"]
        parts += ["\n## What to do\n\n1. ", "\n## How it ends\n"]
        assert [part for part in parts if part not in text] == [], path.name


def test_runbooks_name_only_existing_log_events() -> None:
    code = "".join(path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    named = {
        event
        for path in RUNBOOKS
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\d\. The log\b", line)
        for event in re.findall(r"`([a-z][a-z ;]* [a-z ;]*)`", line)
    }
    assert len(named) > 5
    assert {event for event in named if f'"{event}"' not in code} == set()


def test_adrs_are_numbered_consecutively_and_have_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:5] for path in pages] == [f"{number:04}-" for number in range(1, len(pages) + 1)]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
        assert headings[0].startswith(f"# {path.name[:4]}: "), path.name
        if re.fullmatch(r"# \d{4}: (?:Merged into|Withdrawn, ).*\]\([\w./-]+\)\n", text):
            continue  # its number stays, so that links to it work
        assert headings[1:] == ["## Context", "## Decision", "## Consequences"], path.name


def test_adr_has_at_most_300_words_and_names_decision() -> None:
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert len(text.split()) <= 300, path.name
        decision = text.partition("## Decision\n\n")[2]
        assert decision == "" or re.search(r"\b[Ww]e\b", decision), path.name


def test_adr_superseded_links_to_successor() -> None:
    pages = {
        path.name: path.read_text(encoding="utf-8").partition("\n## ")[0]
        for path in (ROOT / "docs" / "adr").glob("*.md")
    }
    newer = {
        (old, name)
        for name, head in pages.items()
        if "\nSupersedes" in head
        for old in re.findall(r"\]\((.*?)\)", head)
    }
    assert len(newer) > 3
    assert {(old, name) for old, name in newer if f"]({name})" not in pages[old]} == set()


def test_adr_about_libraries_names_each_dependency() -> None:
    projects = [tomllib.loads(read(path))["project"] for path in ("pyproject.toml", "lab/pyproject.toml")]
    required = {line for project in projects for line in project["dependencies"]} - {"pantau"}
    documented = read("docs/adr/0002-libraries-and-licence.md").lower()
    assert [name for line in required if (name := re.split(r"[\[>=<]", line)[0]) not in documented] == []


def test_changelog_newest_release_is_the_version_or_precedes_a_development_version() -> None:
    heading = re.compile(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d(?: \(commit ([0-9a-f]{8,40})\))?$", re.MULTILINE)
    release, commit = heading.findall(read("CHANGELOG.md"))[0]
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    if version != release:
        assert version.endswith(".dev0"), "between two releases the version is the next one with .dev0"
        numbers = [[int(part) for part in text.split(".")] for text in (release, version.removesuffix(".dev0"))]
        assert numbers == sorted(numbers)
        assert commit, "the heading of a release names its commit, as soon as there is one"


# -- tests that a document tells of ---------------------------------------------------------------------------------


def has_marker(node: ast.expr, marker: str) -> bool:
    """Whether a decorator, or what `pytestmark` holds, is or contains `pytest.mark.<marker>`."""
    return any(
        isinstance(inner, ast.Attribute) and inner.attr == marker and ast.unparse(inner.value) == "pytest.mark"
        for inner in ast.walk(node)
    )


def marked(path: Path, marker: str) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of the tests in a module with *marker*, on the test or on the module."""
    if marker not in (text := path.read_text(encoding="utf-8")):
        return
    module = ast.parse(text)
    whole = any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and has_marker(node.value, marker)
        for node in module.body
    )
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        by_itself = any(has_marker(decorator, marker) for decorator in function.decorator_list)
        if function.name.startswith("test_") and (whole or by_itself):
            yield function.name, ast.get_docstring(function) or ""


@pytest.mark.parametrize("marker", MARKER_DOCSTRINGS)
def test_marked_tests_have_docstrings_and_are_counted(marker: str) -> None:
    marked_tests = [found for path in (ROOT / "tests").rglob("test_*.py") for found in marked(path, marker)]
    assert [name for name, times in Counter(name for name, _ in marked_tests).items() if times > 1] == []
    lacking = [
        name
        for name, docstring in marked_tests
        if not all(re.search(f"^{line}", docstring, re.MULTILINE) for line in MARKER_DOCSTRINGS[marker])
    ]
    assert lacking == []
    listed = {first_code(row): int(row[2]) for row in rows("docs/explanation/tested-defects.md", "Markers")}
    assert set(listed) == set(MARKER_DOCSTRINGS)
    assert listed[marker] == len(marked_tests)


# -- all files ------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolves(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.is_relative_to(ROOT) and target.exists() and (not anchor or anchor in anchors(target))


def test_relative_links_lead_to_existing_targets() -> None:
    dead = {
        (relative(page), link)
        for page in markdown()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", link) and not resolves(page, link)
    }
    assert dead == set()


def test_tables_have_header_and_headings_follow_blank_line() -> None:
    """GitHub shows a row without a header, or a heading after a row, as plain text."""
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    wrong = re.compile(r"(?<=\n\n)\|[^\n]*(?=\n(?!\| ?:?-))|(?<=[^\n]\n)#{1,6} [^\n]*")
    assert {
        (relative(path), row)
        for path in markdown()
        for row in wrong.findall(code.sub("", path.read_text(encoding="utf-8")))
    } == set()


def test_pictures_are_used_and_small() -> None:
    shown = {
        name
        for page in markdown()
        for name in re.findall(r"!\[[^\]]+\]\([./]*pictures/([^)]+)\)", page.read_text("utf-8"))
    }
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(pictures) == shown
    assert [name for name, size in pictures.items() if size > 80 * 1024] == []


def test_index_lists_each_page() -> None:
    linked = set(re.findall(r"\]\(([^)\s#]+)", read("docs/README.md")))
    elsewhere = ("adr/", "runbooks/")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages - linked if not page.startswith(elsewhere)} == {"README.md"}


MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("page", "promise", "kept", "figure"),
    [
        (
            "how-to/operator/portal",
            "Give the code by telephone (valid for ten minutes)",
            CodeKind.TELEPHONE.validity,
            10 * MINUTES,
        ),
        (
            "how-to/operator/portal",
            "or in a letter (`--by-letter`, two weeks)",
            CodeKind.LETTER.validity,
            timedelta(weeks=2),
        ),
        ("how-to/operator/portal", "| Password | At least fifteen characters", MIN_PASSWORD_LENGTH, 15),
        (
            "how-to/operator/portal",
            "Wrong attempts on an account, from one address | After three, each waits",
            FREE_ACCOUNT_ATTEMPTS,
            3,
        ),
        ("how-to/operator/portal", "from one address | After twenty, the address waits", FREE_ADDRESS_ATTEMPTS, 20),
        (
            "how-to/operator/portal",
            "After a hundred within an hour, the account waits everywhere",
            MAX_ACCOUNT_FAILURES,
            100,
        ),
        (
            "how-to/operator/portal",
            "removes the wait for ten minutes",
            UNLOCK_DURATION,
            timedelta(minutes=10),
        ),
        (
            "how-to/operator/portal",
            "(a cookie for half a year, until the password changes)",
            DEVICE_LIFETIME,
            timedelta(days=180),
        ),
        ("how-to/operator/portal", "A token ends after at most a year", MAX_TOKEN_LIFETIME, timedelta(days=366)),
        ("how-to/operator/portal", "keep the ten recovery codes on paper", RECOVERY_CODE_COUNT, 10),
        (
            "how-to/agency-officer/probe-times",
            "It varies by a tenth of the interval",
            JITTER,
            0.1,
        ),
        (
            "how-to/agency-officer/probe-times",
            "a tenth of the interval, 30 seconds at most",
            MAX_JITTER,
            MINUTES / 2,
        ),
        (
            "how-to/agency-officer/probe-times",
            "At the start of the hours, every route is probed within a minute",
            HOURS_SPREAD,
            MINUTES,
        ),
        (
            "how-to/agency-officer/probe-times",
            "Intervals above ten minutes run within ten minutes",
            CATCH_UP,
            10 * MINUTES,
        ),
        (
            "how-to/agency-officer/probe-times",
            "Any other server gets at most ten sessions at a time",
            DEFAULT_LIMIT,
            10,
        ),
        (
            "how-to/operator/sites",
            "while its heartbeat is younger than `hub: stale_after:` (30 s)",
            STALE_AFTER,
            MINUTES / 2,
        ),
        (
            "explanation/self-monitoring",
            "A store that for a quarter of an hour neither answers nor reports",
            DATABASE_TIMEOUT,
            15 * MINUTES,
        ),
        (
            "explanation/self-monitoring",
            "When nothing could be written for ten minutes",
            OutOfBandPolicy().store,
            10 * MINUTES,
        ),
        ("explanation/self-monitoring", "again every half hour while it lasts", OutOfBandPolicy().repeat, 30 * MINUTES),
    ],
)
def test_documented_figure_equals_value_in_code(
    page: str, promise: str, kept: timedelta | float, figure: timedelta | float
) -> None:
    assert promise in " ".join(read(f"docs/{page}.md").split())
    assert kept == figure


def test_files_name_no_package_registry() -> None:
    assert {(name, registry) for name, text in texts() for registry in REGISTRIES if registry in text} == set()


def test_lock_files_have_hashes_and_no_address() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(locks) > 3
    for lock in locks:
        assert "--hash=sha256:" in lock.read_text(encoding="utf-8")
        assert "://" not in lock.read_text(encoding="utf-8")


def test_files_name_no_local_path() -> None:
    assert {(name, found) for name, text in texts() for found in LOCAL_PATHS.findall(text)} == set()
