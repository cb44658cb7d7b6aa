"""Fuzz target of SMS replies."""

from __future__ import annotations

from alerts.decide.response import Acknowledgement, Meaning, OptIn, OptOut, Unrecognised, format_code, parse_reply
from tests.fuzz.target import Target


def _parse(octets: bytes) -> None:
    """A text has one of four meanings; its code or number could have been printed by Pantau."""
    meaning: Meaning = parse_reply(octets.decode("utf-8", "replace"))
    match meaning:
        case Acknowledgement(code=code, number=number):
            assert code is None or 0 <= code <= 9999
            assert number is None or (number.isascii() and len(number) <= 20)
            if code is not None:
                assert parse_reply(format_code(code)) == Acknowledgement(code=code)
            if number is not None:
                assert parse_reply(number) == Acknowledgement(number=number)
        case OptOut() | OptIn() | Unrecognised():
            pass


TARGETS = (
    Target(
        name="sms",
        run=_parse,
        seeds={
            "a code": b"1A",
            "a number": b"ack jcm - 01, terima kasih",
            "non-ASCII digits": "\u0661A \uff11A \u1369A \u00b2A \u2460A".encode(),
            "similar letters": "\u0410CK 1\u0410".encode(),
            "character that expands to eighteen": "\ufdfa".encode() * 500,
            "stop": b"STOP",
            "nothing but marks": "a\u0300\u0301".encode() * 200,
        },
        growing={"digits and hyphens": lambda size: b"a-" * (size // 2), "long words": lambda size: b"a" * size},
    ),
)
