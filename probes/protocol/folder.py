"""Selection of the folders that belong to the mailbox that is read. Pure.

The server may also list folders of other users (RFC 2342). Other users' junk folders must not be read: a message found
there would be deleted, and the run that waits for it in that other mailbox would miss it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from probes.protocol.imap_response import ImapResponse, ListedFolder

#: By prefix of folder names: whether these folders are the account's own. The longest matching prefix decides. Empty if
#: the server reports no prefixes.
Namespaces = Mapping[str, bool]

#: A parenthesis, a quoted string (RFC 3501 9), or a word.
_TOKEN = re.compile(r'[()]|"(?:[^"\\]|\\.)*"|[^\s()]+')
_ESCAPED = re.compile(r"\\(.)")
#: Hierarchy delimiters of all known servers, in the order in which they are tried: "/" is before ".", because names of
#: folders with the delimiter "/" may contain mail addresses, and thus dots.
_DELIMITERS = ("/", ".", "\\")
_INBOX = "INBOX"
#: Attributes of folders that cannot be selected, that hold sent mail, or that show mail of other folders (RFC 6154).
_EXCLUDED_ATTRIBUTES = frozenset(
    {"\\noselect", "\\nonexistent", "\\sent", "\\drafts", "\\all", "\\flagged", "\\important"}
)
#: Names of folders for sent mail, for servers that do not mark them. A copy of sent mail is no evidence of delivery.
_SENT_NAMES = re.compile(
    r"(?:^|[/.\\])(?:sent(?:[ _-]?(?:items|mail|messages))?|(?:item |mel |e-mel )?dihantar|terkirim)$", re.IGNORECASE
)
#: Parts of names, in English and Malay, that providers and people give to folders into which filters put mail.
_FILTER_NAMES = re.compile(
    r"junk|spam|bulk|scam|suspect|quarantin|kuarantin|karantin|remeh|sarap|sampah|tapis|filter|trash|deleted",
    re.IGNORECASE,
)
#: Usual roots of other users' folders, for servers that do not report them. RFC 2342 defines no names.
_SHARED_ROOTS = re.compile(
    r"(?:shared|public|user|users|other users|shared folders|public folders|#[^/.]*)[/.]", re.IGNORECASE
)


def parse_namespaces(responses: Iterable[ImapResponse]) -> Namespaces:
    """Parse a NAMESPACE response (RFC 2342 5)."""
    token_lists = (_TOKEN.findall(response.text) for response in responses)
    return {
        prefix: is_own
        for tokens in token_lists
        if tokens[:1] == ["NAMESPACE"]
        for prefix, is_own in _read_prefixes(tokens[1:])
    }


def _read_prefixes(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each prefix, and whether it is the account's own, from "((prefix delimiter)...) (...) NIL"."""
    group, depth, previous = 0, 0, ""
    for word in words:
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif depth == 2 and previous == "(" and word.startswith('"'):
            # The first group has the account's own prefixes, the second other users', the third shared ones.
            yield _ESCAPED.sub(r"\1", word[1:-1]), group == 0
        group += depth == 0
        previous = word


def needs_namespaces(inbox: str, junk_folders: Iterable[str]) -> bool:
    """Return whether the namespaces must be requested, because the inbox or a junk folder may be another user's.

    Other users' folders are always below another folder.
    """
    return may_be_shared(inbox) or any(map(_is_nested, junk_folders))


def own_folders(inbox: str, folders: Sequence[str], namespaces: Namespaces) -> tuple[str, ...]:
    """Return those of *folders* that belong to the mailbox whose inbox is *inbox*.

    All names are as the server writes them. If *inbox* is another user's, the folders below it belong to the mailbox.
    """
    if _is_own(inbox, namespaces, default=not may_be_shared(inbox)):
        return tuple(folder for folder in folders if _is_own(folder, namespaces, default=True))
    # Dovecot shares a mailbox's inbox under two names: "shared/pro" and "shared/pro/INBOX".
    delimiter = next((delimiter for delimiter in _DELIMITERS if delimiter in inbox), _DELIMITERS[0])
    root = inbox[: -len(_INBOX) - 1] if inbox.upper().endswith(f"{delimiter}{_INBOX}") else inbox
    return tuple(folder for folder in folders if folder.startswith(f"{root}{delimiter}"))


def unwatched_folders(
    inbox: str, folders: Iterable[ListedFolder], namespaces: Namespaces, watched: Iterable[str]
) -> tuple[str, ...]:
    """Return the mailbox's own folders that may contain received mail, except its inbox and the *watched* ones.

    Folders whose names are usual for filters come first.
    """
    names = [
        folder.name
        for folder in folders
        if folder.name and not folder.attributes & _EXCLUDED_ATTRIBUTES and not _SENT_NAMES.search(folder.name)
    ]
    if not may_be_shared(inbox) and not namespaces:
        names = [name for name in names if not _SHARED_ROOTS.match(name)]
    excluded = {inbox, *watched}
    unwatched = dict.fromkeys(
        name for name in own_folders(inbox, names, namespaces) if name not in excluded and name.upper() != _INBOX
    )
    return tuple(sorted(unwatched, key=lambda name: _FILTER_NAMES.search(name) is None))


def _is_own(folder: str, namespaces: Namespaces, *, default: bool) -> bool:
    """Return whether *folder* is the account's own; *default* if it has no prefix of *namespaces*."""
    if folder.upper() == _INBOX:
        return True
    prefixes = [prefix for prefix in namespaces if folder.startswith(prefix)]
    return namespaces[max(prefixes, key=len)] if prefixes else default


def may_be_shared(inbox: str) -> bool:
    """Return whether *inbox* may be another user's. The account's own is INBOX on every server (RFC 3501 5.1)."""
    return inbox.upper() != _INBOX and _is_nested(inbox)


def _is_nested(folder: str) -> bool:
    return any(delimiter in folder for delimiter in _DELIMITERS)
