"""Text exposition format, and its speed for many routes."""

from __future__ import annotations

import ssl
import subprocess
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.metrics.exposition import Family
from probes.model.result import Outcome
from tests.bench.fleet import delivered, fill, routes
from tests.bench.mail_stub import MailStub
from tests.unit.monitor.scrape import NOON, Clock, finish, run

from monitor.metrics import Metrics  # isort: skip


def family() -> Family:
    return Family(name="pantau_contoh", kind="gauge", help_text="Whether it is so.", labels=("agency", "subject"))


def text(family: Family) -> str:
    return b"".join(family.pieces()).decode()


def series(family: Family) -> dict[tuple[str, ...], float]:
    [parsed] = text_string_to_metric_families(text(family))
    return {tuple(sample.labels.values()): sample.value for sample in parsed.samples}


def test_family_without_value_has_help_and_type() -> None:
    assert text(family()) == "# HELP pantau_contoh Whether it is so.\n# TYPE pantau_contoh gauge\n"


def test_family_put_replaces_and_drop_removes() -> None:
    contoh = family()
    contoh.put("jpc", "a", [(("jpc", "satu"), 1), (("jpc", "dua"), 2)])
    contoh.put("jpc", "b", [(("jpc", "tiga"), 3)])
    contoh.put("jpc", "a", [(("jpc", "dua"), -2.5)])
    assert series(contoh) == {("jpc", "dua"): -2.5, ("jpc", "tiga"): 3}
    contoh.put("jpc", "a", [])
    assert series(contoh) == {("jpc", "tiga"): 3}
    contoh.drop("jpc", "nothing of this name")
    contoh.drop("nobody")
    contoh.drop("jpc")
    assert series(contoh) == {}


def test_family_keep_drops_other_parts() -> None:
    contoh = family()
    for part in ("a", "b", "c"):
        contoh.put("jpc", part, [(("jpc", part), 1)])
    contoh.keep("jpc", ["b", "d"])
    assert series(contoh) == {("jpc", "b"): 1}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_family_any_label_value_is_escaped(value: str) -> None:
    contoh = family()
    contoh.put("jpc", "a", [(("jpc", value), 1)])
    # One line for any value: the parser itself splits at line ends that Prometheus does not know.
    assert text(contoh).count("\n") == 3
    quoted = text(contoh).split("\n")[2].removeprefix('pantau_contoh{agency="jpc",subject="').removesuffix('"} 1')
    assert quoted.replace(r"\\", "\0").replace(r"\"", '"').replace(r"\n", "\n").replace("\0", "\\") == value or (
        "\0" in value
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(True, "1"), (0, "0"), (-90, "-90"), (1795492801, "1795492801"), (1795492801.2345, "1795492801.234"), (4e-4, "0")],
)
def test_family_numbers_are_written_to_millisecond(value: float, written: str) -> None:
    contoh = family()
    contoh.put("jpc", "a", [(("jpc", "x"), value)])
    assert text(contoh).rpartition(" ")[2] == f"{written}\n"


def test_family_hostile_labels_pass_promtool() -> None:
    contoh = family()
    for number, value in enumerate(('"', "\\", "\n", "a\\nb", "é", "", "} 1\npantau_mail_up 1", "\\")):
        contoh.put("jpc", str(number), [((str(number), value), 1)])
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text(contoh).encode(), capture_output=True, check=False, timeout=20
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_render_many_routes_joins_cached_pieces() -> None:
    metrics = Metrics(version="1.2.3", now=Clock())
    routes = [f"a{number}/internal" for number in range(1000)]
    for number, route in enumerate(routes):
        metrics.register_agency(f"a{number}", routes=[route])
        finish(metrics, run(Outcome.DELIVERED, route, transit=1, connect=1), agency=f"a{number}")
    pieces = metrics.pieces()
    next(pieces)
    began = time.process_time()
    joined = b"".join(pieces)
    # A hundredth of the time for writing the lines: stable on a busy machine, and impossible for a new rendering.
    assert timedelta(seconds=time.process_time() - began) < timedelta(milliseconds=50)
    assert joined.count(b"pantau_probe_run_timestamp_seconds{") == 1000
    assert str(int(NOON.timestamp()) + 3).encode() in joined


def test_render_all_agency_metrics_is_valid_and_unique() -> None:
    metrics = Metrics(version="1.2.3", now=Clock())
    nowhere = MailStub(smtp=1, imap=1, trust=ssl.create_default_context())
    fill(metrics, routes(nowhere, 3))
    rendered = metrics.render()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=rendered, capture_output=True, check=False, timeout=20
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    families = list(text_string_to_metric_families(rendered.decode()))
    samples = [(one.name, tuple(sorted(one.labels.items()))) for family in families for one in family.samples]
    assert len(samples) == len(set(samples))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert sum(name == "pantau_probe_phase_duration_seconds" for name, _ in samples) == 3 * 10 * 7
    _bounded, *many = metrics.pieces()
    # Bytes per route including its agency. For ten thousand routes, with the phases of the few in trouble and
    # the family headers, a scrape has 7.94 MB; the limit is 8.
    lines = b"".join(many).splitlines(keepends=True)
    told = [line for line in lines if not line.startswith((b"#", b"pantau_probe_phase_duration_seconds"))]
    assert sum(map(len, told)) / 30 < 776


def test_render_open_metrics_has_same_values_and_exemplars() -> None:
    metrics = Metrics(version="1.2.3", now=Clock())
    nowhere = MailStub(smtp=1, imap=1, trust=ssl.create_default_context())
    fill(metrics, routes(nowhere, 3))
    # Two parsers read the two formats; the OpenMetrics parser is strict.
    parsed = open_metrics.text_string_to_metric_families(metrics.render(open_metrics=True).decode())  # type: ignore[no-untyped-call]
    families = list(parsed)
    text = text_string_to_metric_families(metrics.render().decode())
    said = {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}
    moving = "process_"
    assert {key: value for key, value in said.items() if not key[0].startswith(moving)} == {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text
        for s in family.samples
        if not s.name.startswith(moving)
    }
    shown = [s.exemplar for family in families for s in family.samples if s.exemplar is not None]
    assert {tuple(sorted(exemplar.labels)) for exemplar in shown} == {("route", "run")}


def test_record_run_route_name_too_long_for_exemplar_is_counted() -> None:
    metrics, name = Metrics(version="1", now=Clock()), "JCM/" + "x" * 190
    metrics.register_agency("JCM", routes=[name])
    metrics.record_run(delivered(name), agency="JCM", direction="internal", site="x")
    rendered = metrics.render(open_metrics=True).decode()
    assert 'pantau_mail_transit_seconds_count{direction="internal"} 1.0\n' in rendered
    assert " # {" not in rendered
