"""A wrong configuration in one file: a comment, the changes of the base configuration, and the expected problems.

    Port 993 is that of IMAP.

    @ agencies/jabatan.yaml
    -    smtp: {host: mel.jabatan-contoh.gov.my}
    +    smtp: {host: mel.jabatan-contoh.gov.my, port: 993}

    =>
    agencies/jabatan.yaml:14: warning: mailboxes.utama.smtp.port: ...

`@` names a file of the configuration. `-` lines are replaced by the `+` lines; `+` lines alone are appended. A `$` line is
a shell command in the directory of the configuration. The output of `pantau check` follows `=>`. Each secret contains the
word *kenari* (a canary), which must not appear in output.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.config.loading import LoadCache, LoadResult, load

HERE = Path(__file__).parent
CANARY = "kenari"
SECRET = f"rahsia-{CANARY}-7"
ENVIRON = {"RUJUKAN_B": SECRET, "KOSONG": "", "BERBARIS": f"{SECRET}\n{SECRET}"}
#: A time at which the numbers of the base configuration are verified.
NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)
_MARK = "=>"


@dataclass(frozen=True, slots=True)
class Case:
    """One file of the corpus."""

    file: Path

    @property
    def name(self) -> str:
        """The name of the case: "servers/port-of-imap"."""
        return str(self.file.relative_to(HERE).with_suffix(""))

    @property
    def expected(self) -> list[str]:
        """The expected problems, one per line, with paths relative to the directory of the settings file."""
        return self._text.partition(f"\n{_MARK}\n")[2].splitlines()

    @property
    def is_refused(self) -> bool:
        """Whether the configuration cannot be used."""
        return any(": warning: " not in line for line in self.expected)

    @property
    def depends_on_date(self) -> bool:
        """Whether the problems depend on the date, so that the service does not report them."""
        words = ("nobody is on call", "verified", "begins only in")
        return any(word in line for line in self.expected for word in words)

    def lay_out(self, directory: Path) -> Path:
        """Write the wrong configuration into *directory*, which is emptied first. Return its settings file."""
        lay_out_base(directory)
        file, out, put = "", list[str](), list[str]()
        for line in [*self._text.partition(f"\n{_MARK}\n")[0].splitlines(), ""]:
            if put and line[:1] != "+":
                _replace(directory / file, out, put)
                out, put = [], []
            match line[:1], line[1:]:
                case "@", name:
                    if out:
                        _replace(directory / file, out, put)
                        out = []
                    file = name.strip()
                case "-", text:
                    out.append(text)
                case "+", text:
                    put.append(text)
                case "$", command:
                    subprocess.run(command, shell=True, check=True, cwd=directory, timeout=10)
        if out:
            _replace(directory / file, out, put)
        return directory / "pantau.yaml"

    def write(self, said: list[str]) -> None:
        """Set the expected problems to *said*."""
        self.file.write_text("\n".join([self._text.partition(f"\n{_MARK}\n")[0], _MARK, *said, ""]), encoding="utf-8")

    @property
    def _text(self) -> str:
        return self.file.read_text(encoding="utf-8")


def cases() -> list[Case]:
    """Return all cases."""
    return [Case(file) for file in sorted(HERE.glob("*/*.case"))]


def lay_out_base(directory: Path) -> None:
    """Write the base configuration into *directory*, which is emptied first."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(HERE / "base", directory)
    (directory / "secrets").mkdir()
    for name in ("rujukan-a", "twilio", "jcontoh"):
        secret = directory / "secrets" / name
        secret.write_text(f"{SECRET}\n", encoding="utf-8")
        secret.chmod(0o600)


def check_output(config: Path, cache: LoadCache | None = None) -> tuple[LoadResult, list[str]]:
    """Load *config*; return the result and the problems as `pantau check` prints them, with relative paths."""
    loaded = load(config, ENVIRON, now=NOW, cache=cache)
    return loaded, [shortened(str(problem), config) for problem in loaded.problems]


def shortened(text: str, config: Path) -> str:
    """Return *text* with paths relative to the directory of the settings file."""
    return text.replace(f"{config.parent}/", "").replace(str(config.parent), ".")


def _replace(file: Path, out: list[str], put: list[str]) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    old, new = "".join(f"{line}\n" for line in out), "".join(f"{line}\n" for line in put)
    assert not out or f"\n{text}".count(f"\n{old}") == 1, f"{file.name} does not hold once: {old}"
    file.write_text(f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:] if out else text + new, encoding="utf-8")
