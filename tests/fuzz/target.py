"""Contract of a fuzz target: it takes octets and asserts what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

#: Separator between the turns of a scripted server.
TURN = b"\x1e"
#: Placeholder for the tag of the last command.
TAG = b"%T"

#: Octets that break parsers: endless numbers, other alphabets, half characters, opening brackets.
_PIECES = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"\t", b"\x0b", b"\x1b[2J", b"\x7f", b"\x85", b"\xff\xfe"),
    *(b"9" * 20, b"9" * 5000, b"-1", b"1e309", b"NaN", b"0x10", b"1_0", b"\xd9\xa1", b"\xc2\xb2", b"\xef\xbc\x91"),
    *(b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xae", b"\xef\xbb\xbf", b"\xc5\xbf", b"\xc4\xb0", b"&AGE-", b"+AGE-"),
    *(b"(", b")", b"[", b"]", b"{", b"}", b"<", b">", b'"', b"'", b"\\", b"%s", b"%n", b"{0}", b"=?", b"?=", b"<<: *a"),
    *(b":", b";", b",", b"=", b"&", b"*", b"..", b"../", b"/", b"|", b"!", b"#", b"- ", b"  ", b"~", TURN, TAG),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser of untrusted input."""

    name: str
    #: Raises nothing for any octets, unless a contract is broken.
    run: Callable[[bytes], None]
    #: Initial inputs by description, including those that once failed.
    seeds: Mapping[str, bytes]
    #: Makers of inputs of about a given size with the worst growth.
    growing: Mapping[str, Callable[[int], bytes]] = field(default_factory=dict)
    #: Largest size of an input in octets.
    largest: int = 64 * 1024


def generated(target: Target) -> st.SearchStrategy[bytes]:
    """Return a hypothesis strategy: a seed with some edits, or random octets."""
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
