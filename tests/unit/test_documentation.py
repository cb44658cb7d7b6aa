"""What the documents say and what the code does cannot drift apart."""

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
from monitor.access.invitation_code import CodeWay
from monitor.access.lockout import FREE_ACCOUNT_ATTEMPTS, FREE_ADDRESS_ATTEMPTS, MAX_ACCOUNT_FAILURES, UNLOCK_DURATION
from monitor.access.password import SHORTEST
from monitor.access.totp import RECOVERY_CODES
from monitor.cli import COMMANDS, load_command
from monitor.evaluation.joint.freshness import STALE_AFTER
from monitor.evaluation.liveness import DATABASE_TIMEOUT
from monitor.evaluation.out_of_band import OutOfBandPolicy
from monitor.planning.concurrency import DEFAULT_LIMIT
from monitor.planning.schedule import CATCH_UP, HOURS_SPREAD, JITTER, MAX_JITTER
from pantau_lab.faultlab.order import USAGE
from pantau_lab.faultlab.symptom import SYMPTOMS
from pantau_lab.mail import Fault

ROOT = Path(__file__).parents[2]

PACKAGES = ("monitor", "probes", "alerts")

#: With which lines the docstring of a test with a marker begins.
MARKED = {
    "pitfall": ("Trap: ", "Pantau: "),
    "falsegreen": ("Defect: ", "Pantau: "),
    "peerbug": (r"Defect \([\w, -]+\): ", "Pantau: "),
    "story": (r"\S",),
    "blind": ("Defect: ", "Pantau: "),
}

#: Written backwards, or this file would be the one that names them.
REGISTRIES = tuple(name[::-1] for name in ("gro.ipyp", "gro.detsohnohtyp", "moc.sjmpn"))
#: Where only somebody's own machine has files.
LOCAL_PATHS = re.compile(r"(?<![\w.}~-])/(?:home|Users|work|workspace|builds?)/[\w.-]+")


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files of the repository, also those that are not committed yet; ignored ones are none of it."""
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
    """Return a document, without what the changelog says of releases: they had other names."""
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


def test_every_command_is_told_once_and_every_one_told_exists() -> None:
    told = re.findall(r"^\| `(pantau [a-z -]+)` \| ", read("docs/reference/commands.md"), re.MULTILINE)
    assert sorted(told) == sorted(commands())


def test_every_command_that_a_document_names_exists() -> None:
    known = {command.split()[1] for command in commands()}
    named = {
        (relative(path), word)
        for path in markdown()
        for word in re.findall(r"(?:`|bin/|-- )pantau ([a-z][a-z-]*)", current(path))
    }
    assert {(path, word) for path, word in named if word not in known} == set()


def test_the_ways_to_break_the_demo_that_are_shown_exist() -> None:
    shown = {first_code(row) for row in rows("docs/tutorials/demo.md", "Break a mail system")}
    assert len(shown) > 5
    assert shown <= {fault.value for fault in Fault}


def test_every_fault_of_the_lab_is_told_with_how_a_probe_ends() -> None:
    told = [[first_code(row), *row[1:]] for row in rows("lab/README.md", "Faults")]
    symptoms = ((fault, SYMPTOMS[fault]) for fault in Fault)
    assert told == [[fault, fault.seen, each.internal, each.outbound, each.inbound] for fault, each in symptoms]


def test_every_order_of_the_lab_is_told() -> None:
    assert [first_code(row) for row in rows("lab/README.md", "The fault lab")] == list(USAGE.values())


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set()
    for path in markdown():
        for line in re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            named |= set(line.split())
    assert {"run", "test"} <= named <= targets


def test_what_git_runs_before_a_commit_is_all_that_make_test_runs_beside_the_tests() -> None:
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
    """Return the first paragraph of a module's docstring: what the module is."""
    docstring = ast.get_docstring(tree(path)) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("package", PACKAGES)
def test_architecture_layers_of_a_package_are_its_folders_and_modules(package: str) -> None:
    (rule,) = re.findall(rf"^\d+\. Inside `{package}`[^:]*: (.+)\.$", read("ARCHITECTURE.md"), re.MULTILINE)
    inside = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(re.findall(r"`(\w+)`", rule)) == sorted(path.stem for path in inside if path.stem != "__init__")
    assert [path.name for path in inside if not summary(path if path.suffix else path / "__init__.py")] == []


def test_every_module_says_what_it_is_and_no_two_say_the_same() -> None:
    said = {path: summary(path) for path in modules()}
    assert [relative(path) for path, text in said.items() if not text.endswith(".")] == []
    assert [text for text, times in Counter(said.values()).items() if times > 1] == []


def test_every_path_that_a_document_names_exists() -> None:
    places = "|".join((*PACKAGES, "lab", "tests", "grafana", "deploy", "docs", "requirements"))
    missing = {
        (relative(path), named)
        for path in markdown()
        for named in re.findall(rf"`((?:{places})/[\w./-]*)`", path.read_text(encoding="utf-8"))
        if not (ROOT / named).exists() and named not in STILL_TO_BE_WRITTEN
    }
    assert missing == set()


def stands(name: str) -> bool:
    """Whether a dotted name is that of a room, a module, or something in a module."""
    place = (ROOT / "lab" if name.startswith("pantau_lab") else ROOT) / name.replace(".", "/")
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    for module in place.parents:
        if (file := module.with_suffix(".py")).is_file():
            return all(re.search(rf"\b{each}\b", read(relative(file))) for each in place.relative_to(module).parts)
    return False


def test_every_module_that_another_names_exists() -> None:
    named = [
        (relative(path), name)
        for path in modules()
        for name in re.findall(r"`((?:monitor|alerts|probes|pantau_lab)(?:\.\w+)+)`", read(relative(path)))
    ]
    assert len(named) > 20
    assert [(path, name) for path, name in named if not stands(name)] == []


def members() -> Iterator[str]:
    """Return what the classes of the product have, as documents write it: `Prober.run`."""
    for path in modules():
        nodes = ast.walk(tree(path))
        for owner in (node for node in nodes if isinstance(node, ast.ClassDef)):
            for inner in owner.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{owner.name}.{inner.name}"
                elif isinstance(inner, ast.AnnAssign):
                    yield f"{owner.name}.{ast.unparse(inner.target)}"


def test_what_the_architecture_names_of_a_class_is_there() -> None:
    pages = ["ARCHITECTURE.md", *(relative(path) for path in (ROOT / "docs" / "explanation").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`([A-Z]\w*\.[a-z_]+)`", read(page))} - {"README.md"}
    assert len(named) > 8
    assert named - set(members()) == set()


#: Files of the examples in CONTRIBUTING.md, which a contributor writes.
STILL_TO_BE_WRITTEN = {
    "alerts/gateways/kannel.py",
    "tests/unit/alerts/gateways/test_kannel.py",
    "probes/kinds/reverse_dns.py",
    "tests/unit/probes/kinds/test_reverse_dns_run.py",
}


def test_every_contract_of_the_packages_is_told_with_its_layers() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    section = read("ARCHITECTURE.md").partition("## Three packages")[2].partition("\n## ")[0]
    told = [" ".join(rule.split()) for rule in re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]]
    assert len(told) == len(contracts)
    inside = {rule for rule in told if rule.startswith("Inside `")}
    assert len(inside) == sum("containers" in contract for contract in contracts)
    for contract in (contract for contract in contracts if "containers" in contract):
        layers = "; ".join(re.sub(r"(\w+)", r"`\1`", layer).replace(" | ", ", ") for layer in contract["layers"])
        assert any(rule.endswith(f": {layers}.") for rule in inside), contract["name"]


def test_the_folders_of_decisions_are_those_whose_imports_are_held() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    held = next(
        contract["source_modules"] for contract in contracts if contract["name"].startswith("decisions do no I/O")
    )
    told = re.findall(r"`([a-z/]+/)`", " ".join(row[0] for row in rows("ARCHITECTURE.md", "Decide and do")))
    assert sorted(told) == sorted(f"{module.replace('.', '/')}/" for module in held)


# -- lives ----------------------------------------------------------------------------------------------------------


def test_the_life_of_an_incident_is_the_one_in_the_code() -> None:
    told = [tuple(row) for row in rows("docs/explanation/incident.md", "States and events")]
    assert told == [(str(state), event.__name__, str(after)) for (state, event), after in TRANSITIONS.items()]


def test_the_life_of_an_attempt_tells_of_every_state() -> None:
    told = rows("docs/explanation/delivery.md", "Attempt states")
    assert [row[0] for row in told] == [str(state) for state in AttemptState]


def test_a_class_name_stands_once_and_the_glossary_names_only_what_there_is() -> None:
    folders = [ROOT / package for package in PACKAGES] + [ROOT / "lab" / "pantau_lab"]
    parsed = [tree(path) for folder in folders for path in folder.rglob("*.py")]
    names = [node.name for module in parsed for node in module.body if isinstance(node, ast.ClassDef)]
    public = Counter(name for name in names if not name.startswith("_"))
    assert [name for name, times in public.items() if times > 1] == []
    named = re.findall(r"`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)`", read("GLOSSARY.md"))
    assert [name for name in named if name not in public] == []


def test_every_word_of_the_glossary_has_a_meaning_and_a_source() -> None:
    lines = [line for line in read("GLOSSARY.md").splitlines() if line.startswith("| ")]
    assert [line for line in lines if len(line.strip("|").split(" | ")) != 3] == []


def test_a_word_of_the_glossary_stands_once() -> None:
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


#: The page that lists them is none.
RUNBOOKS = [path for path in (ROOT / "docs" / "runbooks").glob("*.md") if path.name != "README.md"]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    written = {path.stem: path for path in RUNBOOKS}
    assert set(written) == set(alert_rules().values())
    for alert, runbook in alert_rules().items():
        assert f"`{alert}`" in written[runbook].read_text(encoding="utf-8"), alert


def test_every_alert_is_in_the_list_of_runbooks_by_the_title_of_its_own() -> None:
    listed = re.findall(r"^- \[(.+)\]\((.+)\.md\): (.+)$", read("docs/runbooks/README.md"), re.MULTILINE)
    assert {alert: stem for _, stem, alerts in listed for alert in re.findall(r"`(\w+)`", alerts)} == alert_rules()
    titles = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in RUNBOOKS}
    assert {stem: f"# {title}" for title, stem, _ in listed} == titles


def test_every_runbook_has_a_malay_summary_and_says_what_to_do() -> None:
    for path in RUNBOOKS:
        text = path.read_text(encoding="utf-8")
        parts = ["**Ringkasan:** ", "\n\nUse this page when ", "\n## What it means\n", "\n## What users notice\n"]
        parts += ["\n## What to do\n\n1. ", "\n## How it ends\n"]
        assert [part for part in parts if part not in text] == [], path.name


def test_the_lines_of_the_log_that_a_runbook_names_are_written_by_the_code() -> None:
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


def test_decisions_are_numbered_in_a_row_and_have_their_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:5] for path in pages] == [f"{number:04}-" for number in range(1, len(pages) + 1)]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
        assert headings[0].startswith(f"# {path.name[:4]}: "), path.name
        if re.fullmatch(r"# \d{4}: (?:Merged into|Withdrawn, ).*\]\([\w./-]+\)\n", text):
            continue  # its number stays, so that what names it leads to where it is now
        assert headings[1:] == ["## Context", "## Decision", "## Consequences"], path.name


def test_decision_has_at_most_300_words_and_says_what_is_decided() -> None:
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert len(text.split()) <= 300, path.name
        decision = text.partition("## Decision\n\n")[2]
        assert decision == "" or re.search(r"\b[Ww]e\b", decision), path.name


def test_a_decision_that_another_supersedes_says_by_which() -> None:
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


def test_the_decision_about_libraries_names_every_one() -> None:
    projects = [tomllib.loads(read(path))["project"] for path in ("pyproject.toml", "lab/pyproject.toml")]
    required = {line for project in projects for line in project["dependencies"]} - {"pantau"}
    told = read("docs/adr/0002-libraries-and-licence.md").lower()
    assert [name for line in required if (name := re.split(r"[\[>=<]", line)[0]) not in told] == []


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


def carries(node: ast.expr, marker: str) -> bool:
    """Whether a decorator, or what `pytestmark` holds, is or contains `pytest.mark.<marker>`."""
    return any(
        isinstance(inner, ast.Attribute) and inner.attr == marker and ast.unparse(inner.value) == "pytest.mark"
        for inner in ast.walk(node)
    )


def marked(path: Path, marker: str) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of the tests in a module that carry *marker*, by themselves or because the module does."""
    if marker not in (text := path.read_text(encoding="utf-8")):
        return
    module = ast.parse(text)
    whole = any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and carries(node.value, marker)
        for node in module.body
    )
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        by_itself = any(carries(decorator, marker) for decorator in function.decorator_list)
        if function.name.startswith("test_") and (whole or by_itself):
            yield function.name, ast.get_docstring(function) or ""


@pytest.mark.parametrize("marker", MARKED)
def test_marked_test_says_in_its_docstring_what_it_proves(marker: str) -> None:
    carrying = [found for path in (ROOT / "tests").rglob("test_*.py") for found in marked(path, marker)]
    assert [name for name, times in Counter(name for name, _ in carrying).items() if times > 1] == []
    lacking = [
        name
        for name, docstring in carrying
        if not all(re.search(f"^{line}", docstring, re.MULTILINE) for line in MARKED[marker])
    ]
    assert lacking == []
    listed = {first_code(row): int(row[2]) for row in rows("docs/explanation/tested-defects.md", "Markers")}
    assert set(listed) == set(MARKED)
    assert listed[marker] == len(carrying)


# -- all files ------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return what a link into a page may end with, as GitHub makes it from the headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.is_relative_to(ROOT) and target.exists() and (not anchor or anchor in anchors(target))


def test_every_relative_link_leads_somewhere() -> None:
    dead = {
        (relative(page), link)
        for page in markdown()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", link) and not leads_somewhere(page, link)
    }
    assert dead == set()


def test_every_table_has_its_head_and_every_heading_stands_by_itself() -> None:
    """A row without a head, or a heading behind a row, is shown as a line of bars."""
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    wrong = re.compile(r"(?<=\n\n)\|[^\n]*(?=\n(?!\| ?:?-))|(?<=[^\n]\n)#{1,6} [^\n]*")
    assert {
        (relative(path), row)
        for path in markdown()
        for row in wrong.findall(code.sub("", path.read_text(encoding="utf-8")))
    } == set()


def test_every_picture_is_shown_by_a_document_and_is_small() -> None:
    shown = {
        name
        for page in markdown()
        for name in re.findall(r"!\[[^\]]+\]\([./]*pictures/([^)]+)\)", page.read_text("utf-8"))
    }
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(pictures) == shown
    assert [name for name, size in pictures.items() if size > 80 * 1024] == []


def test_every_page_is_somebodys_in_the_index_by_reader() -> None:
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
            CodeWay.TELEPHONE.validity,
            10 * MINUTES,
        ),
        (
            "how-to/operator/portal",
            "or in a letter (`--by-letter`, two weeks)",
            CodeWay.LETTER.validity,
            timedelta(weeks=2),
        ),
        ("how-to/operator/portal", "| Password | At least fifteen characters", SHORTEST, 15),
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
        ("how-to/operator/portal", "keep the ten recovery codes on paper", RECOVERY_CODES, 10),
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
def test_a_figure_that_a_document_promises_is_the_one_in_force(
    page: str, promise: str, kept: timedelta | float, figure: timedelta | float
) -> None:
    assert promise in " ".join(read(f"docs/{page}.md").split())
    assert kept == figure


def test_no_file_names_a_package_registry() -> None:
    assert {(name, registry) for name, text in texts() for registry in REGISTRIES if registry in text} == set()


def test_the_locks_hold_hashes_and_no_address() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(locks) > 3
    for lock in locks:
        assert "--hash=sha256:" in lock.read_text(encoding="utf-8")
        assert "://" not in lock.read_text(encoding="utf-8")


def test_no_file_names_a_place_on_somebodys_own_machine() -> None:
    assert {(name, found) for name, text in texts() for found in LOCAL_PATHS.findall(text)} == set()
