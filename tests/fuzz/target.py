"""The contract of a target: octets in, nothing out; what must hold is asserted on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

#: Stands between the answers of a peer that is spoken to in turns.
TURN = b"\x1e"
#: Where a server's answer names the question's tag.
TAG = b"%T"

#: What breaks parsers, whatever they read: numbers without end, other alphabets, halves of characters, things that open.
_PIECES = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"\t", b"\x0b", b"\x1b[2J", b"\x7f", b"\x85", b"\xff\xfe"),
    *(b"9" * 20, b"9" * 5000, b"-1", b"1e309", b"NaN", b"0x10", b"1_0", b"\xd9\xa1", b"\xc2\xb2", b"\xef\xbc\x91"),
    *(b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xae", b"\xef\xbb\xbf", b"\xc5\xbf", b"\xc4\xb0", b"&AGE-", b"+AGE-"),
    *(b"(", b")", b"[", b"]", b"{", b"}", b"<", b">", b'"', b"'", b"\\", b"%s", b"%n", b"{0}", b"=?", b"?=", b"<<: *a"),
    *(b":", b";", b",", b"=", b"&", b"*", b"..", b"../", b"/", b"|", b"!", b"#", b"- ", b"  ", b"~", TURN, TAG),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that reads what strangers write."""

    name: str
    #: Raises nothing for any octets, unless a promise is broken.
    run: Callable[[bytes], None]
    #: Where to begin, each by a word on what it is. What once broke something stays among them.
    seeds: Mapping[str, bytes]
    #: Makes inputs of about so many octets that grow in the way that hurts most.
    swollen: Mapping[str, Callable[[int], bytes]] = field(default_factory=dict)
    #: The most octets that ever come at once.
    largest: int = 64 * 1024


def drawn(target: Target) -> st.SearchStrategy[bytes]:
    """Return what hypothesis draws for a target: a seed with a few edits, or nothing but octets."""
    seeds = st.sampled_from(sorted(target.seeds.values(), key=len))
    piece = st.sampled_from(_PIECES) | st.binary(max_size=8)
    edit = st.tuples(st.integers(0, 4096), st.integers(0, 64), piece)
    edited = st.builds(_edited, seeds, st.lists(edit, min_size=1, max_size=6))
    return edited | st.lists(piece, max_size=12).map(b"".join)


def _edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, piece in edits:
        begin = place % (len(seed) + 1)
        seed = seed[:begin] + piece + seed[begin + length :]
    return seed
