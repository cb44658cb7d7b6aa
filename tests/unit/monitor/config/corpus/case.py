"""A configuration that somebody has written oddly, as one file: what is odd, what it does to a good one, what Pantau says.

    Port 993 is that of IMAP.

    @ agencies/jabatan.yaml
    -    smtp: {host: mel.jabatan-contoh.gov.my}
    +    smtp: {host: mel.jabatan-contoh.gov.my, port: 993}

    =>
    agencies/jabatan.yaml:14: warning: mailboxes.utama.smtp.port: ...

After `@` a file of the configuration; lines with `-` are taken out of it, those with `+` stand there instead (alone: at its
end). A line with `$` is a shell's, run in the directory of the configuration. Below `=>` is all that `pantau check` says.
Whatever is secret holds the word *kenari* (a canary), which Pantau never says.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.config.loading import LoadCache, Loaded, load

HERE = Path(__file__).parent
CANARY = "kenari"
SECRET = f"rahsia-{CANARY}-7"
ENVIRON = {"RUJUKAN_B": SECRET, "KOSONG": "", "BERBARIS": f"{SECRET}\n{SECRET}"}
#: When the numbers of the good configuration have lately been verified.
NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)
_MARK = "=>"


@dataclass(frozen=True, slots=True)
class Case:
    """One file of the corpus."""

    file: Path

    @property
    def name(self) -> str:
        """What it is called: "servers/port-of-imap"."""
        return str(self.file.relative_to(HERE).with_suffix(""))

    @property
    def says(self) -> list[str]:
        """What Pantau is to say: one line a problem, with paths from the directory of the settings file."""
        return self._text.partition(f"\n{_MARK}\n")[2].splitlines()

    @property
    def is_refused(self) -> bool:
        """Whether the configuration cannot be used."""
        return any(": warning: " not in line for line in self.says)

    @property
    def depends_on_the_day(self) -> bool:
        """Whether it would be told otherwise on another day, and not at all by a service."""
        words = ("nobody is on call", "verified", "begins only in")
        return any(word in line for line in self.says for word in words)

    def lay_out(self, directory: Path) -> Path:
        """Write the odd configuration into *directory*, which is emptied first. Return its settings file."""
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
        """Let the file say from now on what was *said*."""
        self.file.write_text("\n".join([self._text.partition(f"\n{_MARK}\n")[0], _MARK, *said, ""]), encoding="utf-8")

    @property
    def _text(self) -> str:
        return self.file.read_text(encoding="utf-8")


def cases() -> list[Case]:
    """Return the whole corpus."""
    return [Case(file) for file in sorted(HERE.glob("*/*.case"))]


def lay_out_base(directory: Path) -> None:
    """Write the good configuration into *directory*, which is emptied first."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(HERE / "base", directory)
    (directory / "secrets").mkdir()
    for name in ("rujukan-a", "twilio", "jcontoh"):
        secret = directory / "secrets" / name
        secret.write_text(f"{SECRET}\n", encoding="utf-8")
        secret.chmod(0o600)


def said_of(config: Path, memory: LoadCache | None = None) -> tuple[Loaded, list[str]]:
    """Return what was read, and what `pantau check` says of it, with paths from the directory of the settings file."""
    loaded = load(config, ENVIRON, now=NOW, cache=memory)
    return loaded, [shortened(str(problem), config) for problem in loaded.problems]


def shortened(text: str, config: Path) -> str:
    """Return *text* with paths from the directory of the settings file."""
    return text.replace(f"{config.parent}/", "").replace(str(config.parent), ".")


def _replace(file: Path, out: list[str], put: list[str]) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    old, new = "".join(f"{line}\n" for line in out), "".join(f"{line}\n" for line in put)
    assert not out or f"\n{text}".count(f"\n{old}") == 1, f"{file.name} does not hold once: {old}"
    file.write_text(f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:] if out else text + new, encoding="utf-8")
