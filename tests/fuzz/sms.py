"""What people write into an SMS, and people who are none."""

from __future__ import annotations

from alerts.decide.response import Acknowledgement, Meaning, OptIn, OptOut, Unrecognised, format_code, parse_reply
from tests.fuzz.target import Target


def _understand(octets: bytes) -> None:
    """A text means one of four things; a code or a number that it stands for is one that we could have printed."""
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
        run=_understand,
        seeds={
            "a code": b"1A",
            "a number": b"ack jcm - 01, terima kasih",
            "digits of others": "\u0661A \uff11A \u1369A \u00b2A \u2460A".encode(),
            "letters that only look like some": "\u0410CK 1\u0410".encode(),
            "one character that stands for eighteen": "\ufdfa".encode() * 500,
            "stop": b"STOP",
            "nothing but marks": "a\u0300\u0301".encode() * 200,
        },
        swollen={"digits and hyphens": lambda size: b"a-" * (size // 2), "long words": lambda size: b"a" * size},
    ),
)
