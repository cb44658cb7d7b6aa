"""Which folders that a server shows belong to the mailbox that is read. Pure.

One sign-in may see other people's folders as well (RFC 2342). Their junk is none of ours: whoever looked for a message in
another's folder would take it away from the run that waits for it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from probes.imap_answer import Answer

#: What names begin with, and whether such folders are one's own; the longest counts. Empty: the server does not tell.
Namespaces = Mapping[str, bool]

#: A parenthesis, a quoted string (RFC 3501 9), or a word.
_PIECE = re.compile(r'[()]|"(?:[^"\\]|\\.)*"|[^\s()]+')
_ESCAPED = re.compile(r"\\(.)")
#: Between a folder and the one that it is in, on all servers we know; an address has dots where "/" is that sign.
_BETWEEN = ("/", ".", "\\")
_INBOX = "INBOX"


def namespaces(answers: Iterable[Answer]) -> Namespaces:
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


def junk_of(inbox: str, marked: Sequence[str], known: Namespaces) -> tuple[str, ...]:
    """Return those of the folders *marked* as junk that belong to the mailbox whose mail arrives in *inbox*.

    All names are as the server writes them. Of a shared mailbox it is what lies in that.
    """
    if _is_mine(inbox, known, otherwise=not is_anothers(inbox)):
        return tuple(folder for folder in marked if _is_mine(folder, known, otherwise=True))
    # "shared/pro" and "shared/pro/INBOX" are two names of one folder where Dovecot shares it.
    sign = next((sign for sign in _BETWEEN if sign in inbox), _BETWEEN[0])
    mailbox = inbox[: -len(_INBOX) - 1] if inbox.upper().endswith(f"{sign}{_INBOX}") else inbox
    return tuple(folder for folder in marked if folder.startswith(f"{mailbox}{sign}"))


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
