"""Folders that belong to the mailbox that is read. Pure.

One sign-in may see other users' folders, too (RFC 2342). Their junk folders must not be read: a search in another
mailbox's folder would take its message away from the run that waits for it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from probes.protocol.imap_response import ImapResponse, Listed

#: Prefixes of names, and whether such folders are the account's own; the longest prefix counts. Empty: unknown.
Namespaces = Mapping[str, bool]

#: A parenthesis, a quoted string (RFC 3501 9), or a word.
_PIECE = re.compile(r'[()]|"(?:[^"\\]|\\.)*"|[^\s()]+')
_ESCAPED = re.compile(r"\\(.)")
#: Hierarchy delimiters of all known servers; an address contains dots where "/" is the delimiter.
_BETWEEN = ("/", ".", "\\")
_INBOX = "INBOX"
#: Folders that cannot be selected, that hold sent mail, or that show mail of other folders (RFC 6154).
_NOTHING_ARRIVES = frozenset({"\\noselect", "\\nonexistent", "\\sent", "\\drafts", "\\all", "\\flagged", "\\important"})
#: Names of folders for sent mail, for servers that mark none. A copy of sent mail may be delivered to it.
_SENT = re.compile(
    r"(?:^|[/.\\])(?:sent(?:[ _-]?(?:items|mail|messages))?|(?:item |mel |e-mel )?dihantar|terkirim)$", re.IGNORECASE
)
#: Names for the folder where filters put mail, as used by providers and people, in the languages expected here.
_LIKELY = re.compile(
    r"junk|spam|bulk|scam|suspect|quarantin|kuarantin|karantin|remeh|sarap|sampah|tapis|filter|trash|deleted",
    re.IGNORECASE,
)
#: Roots of other users' folders on servers that do not report them (RFC 2342 has no fixed names).
_SHARED = re.compile(
    r"(?:shared|public|user|users|other users|shared folders|public folders|#[^/.]*)[/.]", re.IGNORECASE
)


def namespaces(answers: Iterable[ImapResponse]) -> Namespaces:
    """Parse a NAMESPACE response (RFC 2342 5)."""
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
            # The account's own come first, then other users', then shared ones.
            yield _ESCAPED.sub(r"\1", word[1:-1]), place == 0
        place += depth == 0
        before = word


def may_be_others(inbox: str, marked: Iterable[str]) -> bool:
    """Return whether to request the namespaces.

    Other users' folders are subfolders, and an account that reads one has it configured.
    """
    return is_anothers(inbox) or any(map(_is_nested, marked))


def own_of(inbox: str, folders: Sequence[str], known: Namespaces) -> tuple[str, ...]:
    """Return those of *folders* that belong to the mailbox with the inbox *inbox*.

    All names are as the server writes them. For a shared mailbox these are the folders below it.
    """
    if _is_mine(inbox, known, otherwise=not is_anothers(inbox)):
        return tuple(folder for folder in folders if _is_mine(folder, known, otherwise=True))
    # "shared/pro" and "shared/pro/INBOX" are two names of one folder shared by Dovecot.
    sign = next((sign for sign in _BETWEEN if sign in inbox), _BETWEEN[0])
    mailbox = inbox[: -len(_INBOX) - 1] if inbox.upper().endswith(f"{sign}{_INBOX}") else inbox
    return tuple(folder for folder in folders if folder.startswith(f"{mailbox}{sign}"))


def elsewhere(inbox: str, folders: Iterable[Listed], known: Namespaces, watched: Iterable[str]) -> tuple[str, ...]:
    """Return the mailbox's own folders in which mail may have been put, without those that are *watched*.

    Folders with a filter's usual names come first.
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
    """Return whether *inbox* may be another user's: the own one is called INBOX on every server (RFC 3501 5.1)."""
    return inbox.upper() != _INBOX and _is_nested(inbox)


def _is_nested(folder: str) -> bool:
    return any(sign in folder for sign in _BETWEEN)
