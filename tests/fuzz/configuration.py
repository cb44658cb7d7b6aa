"""Fuzz targets of configuration files."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from alerts.documents.crest import InvalidCrestError, read_crest
from alerts.wording.source import SourceError, read
from monitor.config.files.document import parse_document
from monitor.config.files.duration import InvalidDurationError, format_duration, parse_duration
from tests.fuzz.target import TURN, Target
from tests.unit.monitor.config.ministry import AGENCY, SECRET, SETTINGS, Ministry

_NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def _document(octets: bytes) -> None:
    """Problems have a line of the file, and only readable documents have data."""
    text = octets.decode("utf-8", "replace")
    document = parse_document(text, "jabatan.yaml")
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 2
    for problem in document.problems:
        assert problem.line <= lines
        assert str(problem).isprintable()
        assert len(str(problem)) < 4_000
    assert document.readable or not document.data


def _configuration(octets: bytes) -> None:
    """A configuration is accepted, or refused with file and line, and no problem shows a secret."""
    settings, _, agency = octets.partition(TURN)
    with tempfile.TemporaryDirectory() as directory:
        ministry = Ministry(Path(directory))
        ministry.path("pantau").write_bytes(settings)
        ministry.path("jabatan").write_bytes(agency)
        loaded = ministry.load(now=_NOW)
        assert loaded.errors or (loaded.configuration is not None and loaded.configuration.registry.agencies)
        for problem in loaded.problems:
            assert problem.file
            assert str(problem).isprintable()
            assert SECRET not in str(problem)


def _texts(octets: bytes) -> None:
    """A file of texts is read, or refused with a line."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "ms.yaml"
        file.write_bytes(octets)
        try:
            entries = read(file)
        except SourceError as error:
            assert str(error).startswith("ms.yaml")
        else:
            assert all(entry.position.startswith("ms.yaml:") for entry in entries)


def _crest(octets: bytes) -> None:
    """A crest is accepted unchanged, or refused with a printable reason."""
    try:
        crest = read_crest(octets)
    except InvalidCrestError as bad:
        assert str(bad).isprintable()
        assert len(str(bad)) < 300
    else:
        assert crest.octets == octets


def _duration(octets: bytes) -> None:
    """A duration that is read can be formatted and read again."""
    try:
        span = parse_duration(octets.decode("utf-8", "replace"))
    except InvalidDurationError:
        return
    assert parse_duration(format_duration(span)) == span


def _edited(old: str, new: str, *, text: str = AGENCY) -> bytes:
    """Return both files with an edit in one of them."""
    assert old in text, old
    edited = text.replace(old, new, 1)
    settings, agency = (edited, AGENCY) if text is SETTINGS else (SETTINGS, edited)
    return settings.encode() + TURN + agency.encode()


_BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c]\n" % (n, n, *[n - 1] * 6) for n in range(98, 123)
)
_BOMB_OF_TEXTS = b"a: &a {x: y, z: w}\n" + b"".join(
    b"%c: &%c {a: *%c, b: *%c, c: *%c, d: *%c}\n" % (n, n, *[n - 1] * 4) for n in range(98, 123)
)
_MAINTENANCE = "maintenance:\n  - {from: %s, until: %s, reason: kerja}\n"

_DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg">%s</svg>'

TARGETS = (
    Target(
        name="document",
        run=_document,
        seeds={
            "an agency": AGENCY.encode(),
            "billion laughs": _BOMB,
            "merged keys": b"a: &a {b: c}\nd:\n  <<: *a\n  <<: [*a, *a]\n",
            "a key twice": b"a: b\na: c\n",
            "invalid keys": b"? [a]\n: b\n? {c: d}\n: e\n~: f\n2026-11-27: g\n1e309: h\n12:30: i\n",
            "recursive anchor": b"a: &a [*a]\n",
            "nested without end": b"a: " + b"[" * 1000,
            "nested by dashes": b"a:\n" + b"- " * 5000,
            "nested by keys": b"? " * 5000,
            "byte order mark": b"\xef\xbb\xbfa: b\n",
            "a tab": b"a:\n\tb: c\n",
            "invalid characters": b'a: "\\UFFFFFFFF \\ud800 \\x00"\n',
            "a tag": b"!!python/object/apply:os.system [ls]\n",
            "a directive": b"%YAML 99999999999999999999.1\n---\n",
            "two documents": b"a: b\n---\nc: d\n",
            "other line ends": "a: b\x85c: d\u2028e: f\rg: h\n".encode(),
        },
        growing={
            "a long text": lambda size: b"a: '" + b"x " * (size // 2) + b"'\n",
            "anchors": lambda size: b"".join(b"a%d: &a%d x\n" % (n, n) for n in range(size // 16)),
            "keys on a line": lambda size: b"a: {" + b"".join(b"b%d: c, " % n for n in range(size // 10)) + b"}\n",
            "questions": lambda size: b"a:\n" + b" ? b\n" * (size // 5),
            "blank lines": lambda size: b"a: |\n" + b"\n" * size,
            "escaped lines": lambda size: b'a: "' + b"\\\n" * (size // 2) + b'"\n',
        },
        largest=128 * 1024,
    ),
    Target(
        name="configuration",
        run=_configuration,
        seeds={
            "a ministry": SETTINGS.encode() + TURN + AGENCY.encode(),
            "first year": _edited("mailboxes:", _MAINTENANCE % ("0001-01-01 00:00", "0001-01-01 01:00") + "mailboxes:"),
            "last year": _edited(
                "mailboxes:", _MAINTENANCE % ("9999-12-31T23:00-12:00", "9999-12-31T23:30-12:00") + "mailboxes:"
            ),
            "cron with non-ASCII digit": _edited(
                "mailboxes:", 'probing:\n  hours: [{cron: "\u00b2 * * * *", for: 1h}]\nmailboxes:'
            ),
            "a cron of 5,000 digits": _edited(
                "mailboxes:", f'probing:\n  hours: [{{cron: "{"9" * 5000} * * * *", for: 1h}}]\nmailboxes:'
            ),
            "time zone path outside": _edited("mailboxes:", "time_zone: ../../../etc/passwd\nmailboxes:"),
            "a zone that is a directory": _edited("mailboxes:", "time_zone: Asia\nmailboxes:"),
            "host with one long label": _edited("smtp.gmail.com", "a" * 300 + ".my"),
            "a port of 5,000 digits": _edited(
                "{host: smtp.gmail.com}", "{host: smtp.gmail.com, port: " + "9" * 5000 + "}"
            ),
            "number in non-ASCII digits": _edited("+1 202-555-0102", "\u0661\u0662\u0663"),
            "secret in a pipe": _edited("secrets/mail", "/dev/stdin"),
            "endless secret": _edited("secrets/mail", "/dev/zero"),
            "a rota of the first day": _edited(
                "escalation:", "rotas:\n  r: {layers: [{people: [siti], from: 0001-01-01, every: 1d}]}\nescalation:"
            ),
            "a rota of the last day": _edited(
                "escalation:", "rotas:\n  r: {layers: [{people: [siti], from: 9999-12-31, every: 1d}]}\nescalation:"
            ),
            "a number last verified on the last day": _edited(
                'sms: "+1 202-555-0102"', 'sms: "+1 202-555-0102"\n    verified: 9999-12-31'
            ),
            "a number last verified on the first day": _edited(
                'sms: "+1 202-555-0102"', 'sms: "+1 202-555-0102"\n    verified: 0001-01-01'
            ),
            "a secret where its file is named": _edited("secrets/mail", SECRET),
            "a secret where its variable is named": _edited("RUJUKAN_B", SECRET, text=SETTINGS),
            "nothing at all": TURN,
            "not UTF-8": b"\xff\xfe" + TURN + b"\xff",
        },
        largest=32 * 1024,
    ),
    Target(
        name="texts",
        run=_texts,
        seeds={
            "texts": b"sms:\n  outage: RM0 x\nvoice:\n  blocks: [a, b]\n",
            "a text twice": b"a: b\na: c\n",
            "billion laughs": _BOMB,
            "billion laughs of texts": _BOMB_OF_TEXTS,
            "recursive anchor": b"a: &a {b: *a}\n",
            "nested without end": b"a: " + b"[" * 1000,
            "nested by keys": b"? " * 5000,
            "invalid characters": b'a: "\\UFFFFFFFF"\n',
            "a directive": b"%YAML 99999999999999999999.1\n---\n",
            "not UTF-8": b"\xff",
        },
    ),
    Target(
        name="crest",
        run=_crest,
        seeds={
            "shapes": _DRAWN % b'<path d="M0 0h9"/>',
            "billion laughs": b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + _DRAWN % b"&b;",
            "nested without end": b'<svg xmlns="http://www.w3.org/2000/svg">' + b"<g>" * 1000,
            "non-ASCII name": _DRAWN % "<\u0661\u202eg/>".encode(),
            "other byte order": _DRAWN.decode().encode("utf-16"),
            "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0",
            "truncated picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0",
        },
        growing={
            "nested shapes": lambda size: _DRAWN % (b"<g>" * (size // 7) + b"</g>" * (size // 7)),
            "many attributes": lambda size: (
                _DRAWN % (b"<g " + b" ".join(b"a%d='url(#b)'" % n for n in range(size // 16)) + b"/>")
            ),
            "many addresses": lambda size: _DRAWN % (b"<g style='" + b"url(#b) " * (size // 8) + b"'/>"),
        },
        largest=128 * 1024,
    ),
    Target(
        name="duration",
        run=_duration,
        seeds={"a span": b"1h30m", "non-ASCII digits": "\u0661h \u00b2m".encode(), "long duration": b"999999999d" * 9},
    ),
)
