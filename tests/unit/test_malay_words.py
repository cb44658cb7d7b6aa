"""Malay texts follow the spelling of the Dewan Bahasa and the register of a government letter.

The list has words from earlier texts: calques ("melepaskan" for *release*), chat abbreviations, and words
that speak for somebody else. tests/data/texts.md has all texts, for a proofreader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Rejected words, and their replacements.
REJECTED_WORDS = {
    r"(?:me|di)?lepaskan|pelepasan": "mengeluarkan, dikeluarkan, kebenaran",
    r"utk|yg|dgn|kpd|sbb": "the whole word",
    r"sengkang": "sempang",
    r"kita": "kami, or whose it is",
    r"stor": "simpanan data, pangkalan data",
    r"adalah di\w+": "the verb without adalah",
    r"hubungi mereka": "pegawai atau penerima berkenaan",
    r"sarap": "spam",
    r"disahkan sesiapa|dimaklumkan sesiapa": "oleh sesiapa",
    r"gagal mulai": "gagal sejak",
    r"pemantauan sendiri": "sistem pemantauan",
    r"penggera palsu": "amaran palsu",
    r"kekal dibuka": "kekal terbuka",
    r"tiada khabar|menerima khabar": "tiada maklum balas, menerima data",
    r"menerima kekunci": "kekunci tidak dapat digunakan dalam panggilan ini",
    r"luar belum keluar": "luar belum dikeluarkan",
    r"suis luar": "sistem amaran luar",
    r"memanggil seseorang": "menghubungi pegawai",
    r"kata-kata": "respons (a server's), laporan (a bounce's)",
    r"simpan menggantikan": "simpanan ini menggantikan",
    r"sekejap lagi": "sebentar lagi",
    # One term for one thing, on the pages and in Grafana. "Perantara" remains for certificates and devices in between.
    r"(?:di|meng)?poskan": "dipos, mengepos",
    r"pelayan perantara": "pelayan geganti",
    r"resit": "pengesahan terimaan",
    r"merosot": "terjejas",
}
_FOUND = re.compile(rf"\b(?:{'|'.join(REJECTED_WORDS)})\b", re.IGNORECASE)


def _malay() -> Iterator[tuple[str, str]]:
    """Yield file and content of all Malay texts."""
    for path in (
        "alerts/wording/ms.yaml",
        "alerts/documents/phrase.yaml",
        "alerts/documents/docket.py",
        "alerts/documents/incident_record.py",
        "alerts/documents/monthly_report.py",
        "monitor/advice/ms.yaml",
        "monitor/bridge/incident_policy.py",
        "monitor/audit/incident_record.yaml",
        "monitor/audit/BACA-SAYA.txt",
        "monitor/service/errors.yaml",
        "monitor/web/page.yaml",
        "monitor/web/uptime_bars.yaml",
    ):
        yield path, (ROOT / path).read_text(encoding="utf-8")
    for words in sorted((ROOT / "monitor/web/texts").glob("*.yaml")):
        yield words.name, words.read_text(encoding="utf-8")
    for template in sorted((ROOT / "monitor/web/templates").glob("*.html")):
        yield template.name, template.read_text(encoding="utf-8")
    rules = (ROOT / "grafana/rules/pantau.rules.yml").read_text(encoding="utf-8")
    yield "rules", "\n".join(re.findall(r"(?:summary|description)_ms: .*(?:\n {12}.*)*", rules))
    for board in sorted((ROOT / "grafana/boards").glob("*.py")):
        if titles := re.findall(r" · [^\"]+", board.read_text(encoding="utf-8")):
            yield f"boards/{board.name}", "\n".join(titles)
    for runbook in sorted((ROOT / "docs/runbooks").glob("*.md")):
        yield runbook.name, "\n".join(re.findall(r"\*\*Ringkasan:\*\*(?:.+\n)+", runbook.read_text(encoding="utf-8")))


TEXTS = dict(_malay())


@pytest.mark.parametrize("place", TEXTS)
def test_malay_texts_contain_no_rejected_words(place: str) -> None:
    assert TEXTS[place].strip()
    assert [found[0] for found in _FOUND.finditer(TEXTS[place])] == []
