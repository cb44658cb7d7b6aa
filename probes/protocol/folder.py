"""Which folders that a server shows belong to the mailbox that is read. Pure.

One sign-in may see other people's folders as well (RFC 2342). Their junk is none of ours: whoever looked for a message in
another's folder would take it away from the run that waits for it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from probes.protocol.imap_response import ImapResponse, Listed

#: What names begin with, and whether such folders are one's own; the longest counts. Empty: the server does not tell.
Namespaces = Mapping[str, bool]

#: A parenthesis, a quoted string (RFC 3501 9), or a word.
_PIECE = re.compile(r'[()]|"(?:[^"\\]|\\.)*"|[^\s()]+')
_ESCAPED = re.compile(r"\\(.)")
#: Between a folder and the one that it is in, on all servers we know; an address has dots where "/" is that sign.
_BETWEEN = ("/", ".", "\\")
_INBOX = "INBOX"
#: What cannot be opened; what holds what was written here, or shows again what lies elsewhere (RFC 6154).
_NOTHING_ARRIVES = frozenset({"\\noselect", "\\nonexistent", "\\sent", "\\drafts", "\\all", "\\flagged", "\\important"})
#: What holds what was written here, where the server marks nothing. A copy of what is sent may be delivered to it.
_SENT = re.compile(
    r"(?:^|[/.\\])(?:sent(?:[ _-]?(?:items|mail|messages))?|(?:item |mel |e-mel )?dihantar|terkirim)$", re.IGNORECASE
)
#: What providers and people call the place where filters put mail, in the languages that we meet.
_LIKELY = re.compile(
    r"junk|spam|bulk|scam|suspect|quarantin|kuarantin|karantin|remeh|sarap|sampah|tapis|filter|trash|deleted",
    re.IGNORECASE,
)
#: Where others' folders lie on servers that do not tell (RFC 2342 has no fixed names).
_SHARED = re.compile(
    r"(?:shared|public|user|users|other users|shared folders|public folders|#[^/.]*)[/.]", re.IGNORECASE
)


def namespaces(answers: Iterable[ImapResponse]) -> Namespaces:
    """Read a NAMESPACE response (RFC 2342 5)."""
    pieces = (_PIECE.findall(answer.text) for answer in answers)
    return {prefix: mine for words in pieces if words[:1] == ["NAMESPACE"] for prefix, mine in _prefixes(words[1:])}


def _prefixes(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    place, depth, before = 0, 0, ""
    for word in words:
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif depth == 2 and before == "(" and word.startswith('"'):
            # One's own come first, then other people's, then what is shared.
            yield _ESCAPED.sub(r"\1", word[1:-1]), place == 0
        place += depth == 0
        before = word


def may_be_others(inbox: str, marked: Iterable[str]) -> bool:
    """Whether there is anything to ask: others' folders lie in folders, and whoever reads one has it configured."""
    return is_anothers(inbox) or any(map(_is_nested, marked))


def own_of(inbox: str, folders: Sequence[str], known: Namespaces) -> tuple[str, ...]:
    """Return those of *folders* that belong to the mailbox whose mail arrives in *inbox*.

    All names are as the server writes them. Of a shared mailbox it is what lies in that.
    """
    if _is_mine(inbox, known, otherwise=not is_anothers(inbox)):
        return tuple(folder for folder in folders if _is_mine(folder, known, otherwise=True))
    # "shared/pro" and "shared/pro/INBOX" are two names of one folder where Dovecot shares it.
    sign = next((sign for sign in _BETWEEN if sign in inbox), _BETWEEN[0])
    mailbox = inbox[: -len(_INBOX) - 1] if inbox.upper().endswith(f"{sign}{_INBOX}") else inbox
    return tuple(folder for folder in folders if folder.startswith(f"{mailbox}{sign}"))


def elsewhere(inbox: str, folders: Iterable[Listed], known: Namespaces, watched: Iterable[str]) -> tuple[str, ...]:
    """Return the mailbox's own folders in which mail may have been put, without those that are *watched*.

    Those whose name says that a filter uses them come first.
    """
    names = [
        one.name for one in folders if one.name and not one.marks & _NOTHING_ARRIVES and not _SENT.search(one.name)
    ]
    if not is_anothers(inbox) and not known:
        names = [name for name in names if not _SHARED.match(name)]
    seen = {inbox, *watched}
    rest = dict.fromkeys(name for name in own_of(inbox, names, known) if name not in seen and name.upper() != _INBOX)
    return tuple(sorted(rest, key=lambda name: _LIKELY.search(name) is None))


def _is_mine(folder: str, known: Namespaces, *, otherwise: bool) -> bool:
    if folder.upper() == _INBOX:
        return True
    prefixes = [prefix for prefix in known if folder.startswith(prefix)]
    return known[max(prefixes, key=len)] if prefixes else otherwise


def is_anothers(inbox: str) -> bool:
    """Whether *inbox* may be another's: one's own is called INBOX on every server (RFC 3501 5.1)."""
    return inbox.upper() != _INBOX and _is_nested(inbox)


def _is_nested(folder: str) -> bool:
    return any(sign in folder for sign in _BETWEEN)
