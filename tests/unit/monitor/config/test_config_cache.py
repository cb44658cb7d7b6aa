"""Loading with a cache: the result of a first load, without repeated work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.config.files import regular
from monitor.config.loading import AgencySource, LoadCache, LoadResult, load
from tests.unit.monitor.config.ministry import AGENCY, KINDS, SECRET, SETTINGS, Ministry, second_agency

AUTHORITIES = [trustme.CA().cert_pem.bytes() for _ in range(2)]


def agency(old: str, new: str) -> Callable[[Ministry], None]:
    assert old in AGENCY
    return lambda ministry: ministry.write("jabatan", AGENCY.replace(old, new))


def service(old: str, new: str) -> Callable[[Ministry], None]:
    assert old in SETTINGS
    return lambda ministry: ministry.write("pantau", SETTINGS.replace(old, new))


def another(*edits: tuple[str, str]) -> Callable[[Ministry], None]:
    return lambda ministry: ministry.write("majlis", second_agency(*edits))


def authorities(what: bytes) -> Callable[[Ministry], None]:
    def put(ministry: Ministry) -> None:
        (ministry.directory / "ca.pem").write_bytes(what)

    return put


REFERENCE = """\
    address: pantau@rujukan-a.gov.my
    smtp: {host: mel.rujukan-a.gov.my}
    imap: {host: mel.rujukan-a.gov.my}
    login: {username: pantau, password_file: secrets/mail}
"""
POOL = "    pool:\n" + "".join(
    f"      - {{address: {name}@rujukan-{where}.gov.my, smtp: {{host: mel.rujukan-{where}.gov.my}}, imap: {{host: "
    f"mel.rujukan-{where}.gov.my}}, login: {{username: {name}, password_file: secrets/mail}}}}\n"
    for name, where in (("pantau", "a"), ("kedua", "d"))
)


def texts(ministry: Ministry, text: str) -> None:
    (ministry.directory / "texts").mkdir(exist_ok=True)
    (ministry.directory / "texts" / "ms.yaml").write_text(text)


CHANGES: dict[str, Callable[[Ministry], object]] = {
    "the agency as it was": lambda ministry: ministry.write("jabatan", AGENCY),
    "another name": agency("name: Jabatan", "name: Bekas Jabatan"),
    "a comment": agency("agency: JCONTOH", "# ulasan\nagency: JCONTOH"),
    "no YAML": agency("domains:", "domains: ["),
    "a key nobody knows": agency("mailboxes:", "peti: 1\nmailboxes:"),
    "a person nobody knows": agency("contacts: [rahim]", "contacts: [salmah]"),
    "a mailbox with authorities": agency("imap: {host", "ca_file: ca.pem\n    imap: {host"),
    "a long code": agency("JCONTOH", "SEKTORAWAM1"),
    "a domain of another kind": agency("[jabatan-contoh.gov.my]", "[jabatan-contoh.com]"),
    "a second agency": another(),
    "a second agency of the same code": another(("MPCONTOH", "JCONTOH")),
    "a second agency with the same address": another(("kedua@", "pantau@")),
    "a second agency that reads the same folder": another(
        ("username: kedua@jabatan-contoh.gov.my", "username: pantau")
    ),
    "a second agency with a shared person": another(("siti", "rahim")),
    "a second agency on the server of a reference": another(
        ("smtp: {host: smtp.gmail.com}", "smtp: {host: mel.rujukan-a.gov.my}")
    ),
    "a domain with no address": agency("[jabatan-contoh.gov.my]", "[jabatan-contoh.gov.my, jabatan-lain.gov.my]"),
    "a second agency with that domain": another(
        ("[jabatan-contoh.gov.my]", "[jabatan-contoh.gov.my, jabatan-lain.gov.my]")
    ),
    "two mailboxes of one address": agency(
        "mailboxes:\n",
        "mailboxes:\n  lain:\n    address: pantau@jabatan-contoh.gov.my\n"
        "    smtp: {host: smtp.gmail.com}\n    login: {username: lain, password_file: secrets/mail}\n",
    ),
    "maintenance all the time": agency(
        "letterhead:", 'maintenance: [{cron: "0 0 * * *", for: 1d, reason: Naik taraf}]\nletterhead:'
    ),
    "a rota that no step names": agency(
        "escalation:", "rotas: {malam: {layers: [{people: [siti], from: 2026-01-05}]}}\nescalation:"
    ),
    "no second agency": lambda ministry: ministry.path("majlis").unlink(missing_ok=True),
    "the settings as they were": lambda ministry: ministry.write("pantau", SETTINGS),
    "a shorter interval": service("site:", "probing: {interval: 1m, session_timeout: 2m}\nsite:"),
    "a reference that may send no more than for one agency": service(
        "site:", "mail_providers: {rujukan: {hosts: [mel.rujukan-a.gov.my], messages_per_day: 800}}\nsite:"
    ),
    "drills in a minute": service("site:", 'drills: {when: {cron: "0 10 * * tue", for: 1m}, contacts: all}\nsite:'),
    "a shared rota": service("noc:", "rotas: {luar: {layers: [{people: [rahim], from: 2026-01-05}]}}\nnoc:"),
    "a second agency that names the shared rota": another(
        ("{contacts: [siti], ", "{contacts: [siti], rotas: [luar], ")
    ),
    "a reference that may receive no more than for one agency": service(
        "site:", "mail_providers: {rujukan: {hosts: [mel.rujukan-a.gov.my], received_per_hour: 50}}\nsite:"
    ),
    "a pool": service(REFERENCE, POOL),
    "a second agency on the servers of a pool": another(
        ("smtp: {host: smtp.gmail.com}", "smtp: {host: mel.rujukan-a.gov.my}"),
        ("imap: {host: imap.gmail.com}", "imap: {host: mel.rujukan-d.gov.my}"),
    ),
    "a reference elsewhere": service("{host: mel.rujukan-a.gov.my}", "{host: mel.rujukan-c.gov.my}"),
    "nobody is told": service("site:", "mode: monitor_only\nsite:"),
    "one reference only": service("  rujukan-b:", "  # rujukan-b:"),
    "no fax": service("  fax: [{gateway: telex}]\n", ""),
    "another shared person": service("  rahim:\n    name", "  salmah:\n    name"),
    "texts of our own": service("site:", "wording: texts\nsite:"),
    "a text that fits": lambda ministry: texts(ministry, "{}\n"),
    "a text that nobody knows": lambda ministry: texts(ministry, "sms: {tiada: x}\n"),
    "a secret that changed": lambda ministry: ministry.put_secret("mail", "kata-laluan-baharu\n"),
    "the secret as it was": lambda ministry: ministry.put_secret("mail", f"{SECRET}\n"),
    "a secret that all can read": lambda ministry: ministry.put_secret("mail", f"{SECRET}\n", 0o644),
    "an empty secret": lambda ministry: ministry.put_secret("mail", "\n"),
    "no secret": lambda ministry: (ministry.directory / "secrets" / "mail").unlink(missing_ok=True),
    "authorities": authorities(AUTHORITIES[0]),
    "other authorities": authorities(AUTHORITIES[1]),
    "no authorities": authorities(b"x"),
    "no variable": lambda ministry: ministry.environ.clear(),
    "the variable": lambda ministry: ministry.environ.update(RUJUKAN_B=SECRET),
}


def load_summary(loaded: LoadResult) -> object:
    """Return everything that a load reports, without objects that each load creates."""
    if (found := loaded.configuration) is None:
        return loaded
    routes = [(r.name, r.agency, r.probing, r.route.to) for r in found.registry.routes]
    boxes = {name: each.settings for name, each in found.registry.mailboxes.items()}
    file_state = (loaded.problems, loaded.digest, loaded.files)
    return file_state, found.settings, found.registry.agencies, routes, boxes, found.wording, found.digest, found.files


@pytest.mark.blind
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.booleans()), max_size=12), st.sampled_from(["old", "new"])
)
# The file is invalid for another reason than before.
@example([("a mailbox with authorities", True), ("a shorter interval", True), ("no authorities", True)], "new")
# The problem exists only for both together.
@example([("a reference that may send no more than for one agency", True), ("a second agency", False)], "new")
@example([("a second agency with that domain", True), ("a domain with no address", False)], "old")
@example([("a second agency on the server of a reference", False), ("a second agency", False)], "old")
@example([("a second agency with the same address", True), ("another name", False), ("a second agency", True)], "old")
@example([("a second agency on the server of a reference", True), ("a reference elsewhere", True)], "old")
@example([("a second agency on the servers of a pool", True), ("a pool", False)], "old")
@example([("a reference that may receive no more than for one agency", True), ("a second agency", False)], "new")
@example([("two mailboxes of one address", False)], "old")
@example([("a shared rota", True), ("a second agency that names the shared rota", False)], "new")
@example([("drills in a minute", True), ("a second agency", False)], "old")
@example([("a second agency", True), ("maintenance all the time", False), ("the agency as it was", False)], "old")
def test_load_with_cache_after_any_change_equals_load_without(changes: list[tuple[str, bool]], files: str) -> None:
    """Defect: A cached file may differ from its content.

    Pantau: After any change of files, secrets, settings and texts, applied or as a draft, the result equals a first
    reading.
    """
    cache = LoadCache()
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        if files == "old":
            patch.setattr(regular, "TICK_NS", -(10**12))
        ministry = Ministry(Path(directory))
        for change, is_applied in [("the agency as it was", True), *changes]:
            CHANGES[change](ministry)
            documents = None if is_applied else draft_sources(ministry)
            path, environ = ministry.path("pantau"), ministry.environ
            again = load(path, environ, kinds=KINDS, cache=cache, documents=documents)
            assert load_summary(again) == load_summary(load(path, environ, kinds=KINDS, documents=documents))
            if is_applied and again.configuration is not None:
                cache.active_registry = again.configuration.registry


def draft_sources(ministry: Ministry) -> list[AgencySource]:
    """Return the agencies as an editor passes them: the changed one comes last."""
    files = sorted((ministry.directory / "agencies").iterdir(), reverse=True)
    return [AgencySource(label=str(file), name=file.name, file=file) for file in files]


@pytest.mark.blind
def test_load_with_cache_reads_and_checks_changed_files_only(ministry: Ministry) -> None:
    """Defect: Each reload parses and checks every file: 37 s of CPU for 2,000 agencies.

    Pantau: Unchanged files are not read again: 0.3 s after one edit.
    """
    cache = LoadCache()

    def read_again() -> tuple[set[str], set[str]]:
        """Return the files that were read again, and those that were checked again."""
        before = {file: (each.read_findings, each.all_findings) for file, each in cache.agencies.items()}
        loaded = load(ministry.path("pantau"), ministry.environ, kinds=KINDS, cache=cache)
        cache.active_registry = loaded.require_configuration().registry
        nothing = (None, None)
        read = {
            Path(f).stem for f, each in cache.agencies.items() if each.read_findings is not before.get(f, nothing)[0]
        }
        return read, {
            Path(f).stem for f, each in cache.agencies.items() if each.all_findings is not before.get(f, nothing)[1]
        }

    ministry.write("majlis", second_agency(("secrets/mail", "secrets/majlis")))
    ministry.put_secret("majlis", SECRET)
    assert read_again() == ({"jabatan", "majlis"}, {"jabatan", "majlis"})
    before = cache.active_registry
    assert read_again() == (set(), set())
    after = cache.active_registry
    assert before is not None
    assert after is not None
    for code in ("JCONTOH", "MPCONTOH"):
        assert all(a is b for a, b in zip(before.routes_for(code), after.routes_for(code), strict=True))

    ministry.edit("majlis", "name: Jabatan", "name: Majlis")
    assert read_again() == ({"majlis"}, {"majlis"})
    ministry.put_secret("majlis", "kata-laluan-baharu")
    assert read_again() == ({"majlis"}, {"majlis"})
    ministry.edit("pantau", "name: Rahim", "name: Abdul Rahim")
    assert read_again() == (set(), {"jabatan", "majlis"}), "whom they may name is another one"


def test_load_cache_builds_worst_case_sms_once_per_wording(ministry: Ministry) -> None:
    cache = LoadCache()

    def made_again() -> bool:
        before = cache.worst_case_sms
        load(ministry.path("pantau"), ministry.environ, kinds=KINDS, cache=cache).require_configuration()
        return cache.worst_case_sms is not before

    assert made_again()
    ministry.edit("jabatan", "name: Jabatan", "name: Bekas Jabatan")
    assert not made_again()
    ministry.edit("pantau", "site:", "wording: texts\nsite:")
    texts(ministry, "sms: {waits: Notis luar menunggu.}\n")
    assert made_again()
    assert not made_again()


def test_load_cache_keeps_no_document_data_and_finds_lines_later(ministry: Ministry) -> None:
    cache = LoadCache()
    load(ministry.path("pantau"), ministry.environ, kinds=KINDS, cache=cache)
    (filed,) = cache.agencies.values()
    assert filed.all_findings.document.data == {}
    assert "_locations" not in vars(filed.all_findings.document.locations)
    ministry.write("majlis", second_agency(("kedua@", "pantau@")))
    loaded = load(ministry.path("pantau"), ministry.environ, kinds=KINDS, cache=cache)
    assert any("is also at" in str(p) and "jabatan.yaml:13" in str(p) for p in loaded.errors)
