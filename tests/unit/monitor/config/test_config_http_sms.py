"""The gateway `http_sms` in the settings file: each problem names its key."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest

from monitor.config.loading import load
from monitor.config.service.gateway import gateway_kinds
from tests import sms_providers
from tests.document_examples import examples
from tests.unit.monitor.config.ministry import KINDS, Ministry

BLOCKS = {
    name: block for block in examples("yaml", sms_providers.DOCUMENT) for name in re.findall(r"name: sms-(\w+)", block)
}


def entry(provider: str) -> str:
    """Return the lines of an example from `- gateway` on."""
    lines = BLOCKS[provider].splitlines()
    return dedent("\n".join(lines[next(n for n, line in enumerate(lines) if "- gateway:" in line) :]))


def problems(ministry: Ministry, written: str) -> list[str]:
    """Return the problems of a provider in the example configuration."""
    ministry.edit(
        "pantau", "  sms: [{gateway: pigeon, token_file: secrets/mail}]\n", f"  sms:\n{indent(written, '    ')}\n"
    )
    for name in re.findall(r"_file: (secrets/[\w-]+)", written):
        ministry.put_secret(Path(name).name, "kata-laluan-yang-panjang\n")
    loaded = load(ministry.path("pantau"), ministry.environ, kinds={**KINDS, "http_sms": gateway_kinds()["http_sms"]})
    said = [str(problem).replace(f"{ministry.directory}/", "") for problem in loaded.problems]
    return [re.sub(r"^pantau.yaml:\d+: gateways.sms.0.?", "", each) for each in said]


@pytest.mark.parametrize("provider", BLOCKS)
def test_http_sms_document_example_is_valid_with_at_most_25_lines(ministry: Ministry, provider: str) -> None:
    assert problems(ministry, entry(provider)) == []
    assert len(entry(provider).splitlines()) <= 25


def test_http_sms_document_providers_are_all_tested() -> None:
    assert set(BLOCKS) == {"awan", "suria", "modem"}


@pytest.mark.parametrize(
    ("provider", "old", "new", "said"),
    [
        (
            "awan",
            "https://api.sms-awan.example/send",
            "http://api.sms-awan.example/send",
            "url: must be https (plain http",
        ),
        ("awan", 'msg: "{text}", ', "", "fields: must contain the SMS; write {text} in its place"),
        ("awan", 'to: "{to_digits}", ', "", "fields: must contain the number; write {to}, {to_digits} or {to_local}"),
        (
            "awan",
            '"{to_digits}"',
            '"{nombor}"',
            "fields.to: {nombor} is not a placeholder; write one of {to}, {to_digits}",
        ),
        (
            "awan",
            "method: get\n  user",
            "method: gett\n  user",
            "method: 'gett' is not possible here; write instead: get",
        ),
        ("awan", 'msg: "{text}"', 'msg: ["{text}"]', "fields: msg: must be a text or a number here; put it in quotes"),
        ("awan", "  user: jcontoh\n", "", "user: is missing; {user} is used"),
        ("awan", "  secret_file: secrets/sms-awan\n", "", "secret: is missing; {secret} is used: write secret_file"),
        ("awan", "secret_file: secrets/sms-awan", "secret: kata-laluan", "secret: a secret is never written in the"),
        (
            "awan",
            "code: code=(\\d+)",
            "code: code=(\\d+",
            "answer.code: is not a regular expression: missing ), unterminated subpattern",
        ),
        (
            "awan",
            "code: code=(\\d+)",
            "code: (c)ode=(\\d+)",
            "answer.code: has more than one group; write ( ) around the",
        ),
        (
            "awan",
            "    accepted: [0]\n",
            "",
            "answer.accepted: is missing; write the codes of an accepted message, as [0]",
        ),
        ("awan", "accepted: [0]", "accepted: [0, 2]", "answer.errors: 2 is also listed under accepted; keep one"),
        ("awan", "2: balance", "2: baki", "answer.errors.2: 'baki' is not possible here"),
        (
            "awan",
            "2: balance",
            "2: ballance",
            "answer.errors.2: 'ballance' is not possible here; write instead: balance",
        ),
        ("awan", "  states: {Q", "  stets: {Q", "states: is missing; write the provider's names of them"),
        (
            "awan",
            'ref: "{reference}"}\n    state',
            'pw: "{secret}"}\n    state',
            "receipts.fields: must name the message",
        ),
        ("suria", "id: data.0.message_id", "id: data[0].message_id", "answer.id: is not a JSON path; write keys and"),
        (
            "suria",
            "    signature_header: X-Suria-Signature\n",
            "",
            "callback.secret_file: has no place in the callback",
        ),
        (
            "suria",
            "    secret_file: secrets/sms-suria-callback",
            "",
            "is missing, but signature_header needs it; write secret_file",
        ),
        (
            *("suria", "    signature_header: X-Suria-Signature\n    secret_file: secrets/sms-suria-callback", ""),
            "is missing: anybody could report an SMS as delivered, or reply in an officer",
        ),
        (
            "suria",
            "    reference: client_ref\n",
            "",
            "callback: reference is missing; write which field contains {reference}",
        ),
        (
            *("suria", "sender: from, text: body", "sender: results.0.from, text: results.0.text"),
            "callback.reply: results.0.from, results.0.text, message_id lead through different lists",
        ),
        (
            *("suria", "    state: status\n", "    state: results.0.status\n"),
            "callback.id: client_ref, results.0.status, message_id lead through different lists",
        ),
        (
            "suria",
            "signature_header: X",
            "secret_field: kunci\n    signature_header: X",
            "are both set; keep one of",
        ),
        (
            "modem",
            "secret_field: key,",
            "addresses: [10.0.0.300], secret_field: key,",
            "is not an IP address or network; write 203",
        ),
    ],
)
def test_http_sms_mistake_is_reported_at_its_key(
    ministry: Ministry, provider: str, old: str, new: str, said: str
) -> None:
    written = entry(provider)
    assert old in written
    found = problems(ministry, written.replace(old, new))

    assert any(said in each for each in found), found
    assert not any("kata-laluan" in each for each in found)


def test_http_sms_callback_secret_too_short_is_refused(ministry: Ministry) -> None:
    (ministry.directory / "pendek").write_text("abcd\n", encoding="utf-8")
    (ministry.directory / "pendek").chmod(0o600)
    found = problems(ministry, entry("suria").replace("secrets/sms-suria-callback", "pendek"))
    assert any("callback.secret_file: is too short; use 16 characters" in each for each in found), found
