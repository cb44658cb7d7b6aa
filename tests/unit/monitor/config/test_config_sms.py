"""A provider of one's own in the settings file: what is wrong is said at the key."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest

from monitor.config.loading import load
from monitor.config.service.gateway import gateway_kinds
from tests import sms_providers
from tests.leaflet import examples
from tests.unit.monitor.config.ministry import KINDS, Ministry

BLOCKS = {
    name: block for block in examples("yaml", sms_providers.DOCUMENT) for name in re.findall(r"name: sms-(\w+)", block)
}


def entry(provider: str) -> str:
    """Return the lines of an example from `- gateway` on."""
    lines = BLOCKS[provider].splitlines()
    return dedent("\n".join(lines[next(n for n, line in enumerate(lines) if "- gateway:" in line) :]))


def problems(ministry: Ministry, written: str) -> list[str]:
    """Return what `pantau check` says of a provider in the sample configuration."""
    ministry.edit(
        "pantau", "  sms: [{gateway: pigeon, token_file: secrets/mail}]\n", f"  sms:\n{indent(written, '    ')}\n"
    )
    for name in re.findall(r"_file: (secrets/[\w-]+)", written):
        ministry.put_secret(Path(name).name, "kata-laluan-yang-panjang\n")
    loaded = load(ministry.path("pantau"), ministry.environ, kinds={**KINDS, "http_sms": gateway_kinds()["http_sms"]})
    said = [str(problem).replace(f"{ministry.directory}/", "") for problem in loaded.problems]
    return [re.sub(r"^pantau.yaml:\d+: gateways.sms.0.?", "", each) for each in said]


@pytest.mark.parametrize("provider", BLOCKS)
def test_each_example_is_right_and_has_25_lines_at_most(ministry: Ministry, provider: str) -> None:
    assert problems(ministry, entry(provider)) == []
    assert len(entry(provider).splitlines()) <= 25


def test_every_provider_of_the_document_is_under_test() -> None:
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
        ("awan", 'msg: "{text}", ', "", "fields: must hold the SMS; write {text} where it goes"),
        ("awan", 'to: "{to_digits}", ', "", "fields: must hold the number; write {to}, {to_digits} or {to_local}"),
        (
            "awan",
            '"{to_digits}"',
            '"{nombor}"',
            "fields.to: {nombor} is no placeholder; write one of {to}, {to_digits}",
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
            "answer.code: is no pattern: missing ), unterminated subpattern",
        ),
        ("awan", "code: code=(\\d+)", "code: (c)ode=(\\d+)", "answer.code: has more than one group; write ( ) around"),
        (
            "awan",
            "    accepted: [0]\n",
            "",
            "answer.accepted: is missing; write the codes that say it was taken, as [0]",
        ),
        ("awan", "accepted: [0]", "accepted: [0, 2]", "answer.errors: 2 stands under accepted, too; keep one"),
        ("awan", "2: balance", "2: baki", "answer.errors.2: 'baki' is not possible here"),
        (
            "awan",
            "2: balance",
            "2: ballance",
            "answer.errors.2: 'ballance' is not possible here; write instead: balance",
        ),
        ("awan", "  states: {Q", "  stets: {Q", "states: is missing; write what the provider calls them"),
        (
            "awan",
            'ref: "{reference}"}\n    state',
            'pw: "{secret}"}\n    state',
            "receipts.fields: must name the message",
        ),
        ("suria", "id: data.0.message_id", "id: data[0].message_id", "answer.id: is no path in JSON; write names and"),
        (
            "suria",
            "    signature_header: X-Suria-Signature\n",
            "",
            "callback.secret_file: nothing says where it stands",
        ),
        (
            "suria",
            "    secret_file: secrets/sms-suria-callback",
            "",
            "is missing beside signature_header; write secret_file",
        ),
        (
            *("suria", "    signature_header: X-Suria-Signature\n    secret_file: secrets/sms-suria-callback", ""),
            "is missing: anybody could say that an SMS arrived, or answer for an officer",
        ),
        ("suria", "    reference: client_ref\n", "", "callback: reference is missing; write what holds {reference}"),
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
            "say where it stands; keep one of",
        ),
        (
            "modem",
            "secret_field: key,",
            "addresses: [10.0.0.300], secret_field: key,",
            "is no address or network; write 203",
        ),
    ],
)
def test_what_is_wrong_is_said_at_the_key(ministry: Ministry, provider: str, old: str, new: str, said: str) -> None:
    written = entry(provider)
    assert old in written
    found = problems(ministry, written.replace(old, new))

    assert any(said in each for each in found), found
    assert not any("kata-laluan" in each for each in found)


def test_a_secret_of_four_letters_proves_nothing(ministry: Ministry) -> None:
    (ministry.directory / "pendek").write_text("abcd\n", encoding="utf-8")
    (ministry.directory / "pendek").chmod(0o600)
    found = problems(ministry, entry("suria").replace("secrets/sms-suria-callback", "pendek"))
    assert any("callback.secret_file: is too short to prove anything; use 16 characters" in each for each in found), (
        found
    )
