"""Steps without contacts, recipients without addresses, pages without required lines."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import AGENCY, Ministry

_AGENCY = "agencies/jabatan.yaml"

#: The edit (file, old text, new text) and its only problem.
MISTAKES = [
    # Steps that reach nobody
    (
        ("jabatan", "contacts: [rahim]", "contacts: []"),
        (
            f"{_AGENCY}:26: escalation.steps[1].contacts: the step reaches nobody; "
            "write instead: the key of at least one contact, or of a rota under rotas"
        ),
    ),
    (
        ("jabatan", "contacts: [rahim]", "contacts: [rahin]"),
        f"{_AGENCY}:26: escalation.steps[1].contacts[0]: there is no contact 'rahin'; write instead: rahim",
    ),
    (
        ("jabatan", "contacts: [rahim]", "contacts: [rahim, rahim]"),
        f"{_AGENCY}:26: escalation.steps[1].contacts[1]: 'rahim' is named twice; write instead: it once",
    ),
    (
        ("jabatan", "channels: [sms]", "channels: [voice]"),
        (
            f"{_AGENCY}:26: escalation.steps[1].contacts[0]: the step does not reach 'rahim', who has no address for voice; "
            "write instead: voice: 03-1234 5678 for rahim"
        ),
    ),
    (
        ("jabatan", "channels: [sms]", "channels: []"),
        f"{_AGENCY}:26: escalation.steps[1].channels: no channel is named; write instead: sms, voice, fax or letter",
    ),
    (
        ("pantau", "  voice: [{gateway: crier}]\n", ""),
        (
            f"{_AGENCY}:25: escalation.steps[0].channels[1]: no gateway is configured for voice; "
            "write instead: gateways: {voice: [...]} in the settings file, or another channel"
        ),
    ),
    (
        ("jabatan", "after: 5m, ", ""),
        (
            f"{_AGENCY}:26: warning: escalation.steps[1].after: starts together with the previous step; "
            "write instead: after: 5m, or its contacts in the previous step"
        ),
    ),
    (
        ("pantau", "      - {contacts: [rahim], channels: [sms]}", "      []"),
        (
            "pantau.yaml:27: noc.escalation.steps: nobody is notified; "
            "write instead: at least one step with contacts and channels"
        ),
    ),
    # Recipients without an address
    (
        ("jabatan", '      fax: "+44 20 7946 0104"\n', ""),
        f"{_AGENCY}:29: announcement.recipients.kementerian: has no address for fax; write instead: fax: 03-1234 5678",
    ),
    (
        ("pantau", "  letter: [{gateway: runner}]\n", ""),
        (
            f"{_AGENCY}:34: announcement.recipients.kementerian.channels[1]: no gateway is configured for letter; "
            "write instead: gateways: {letter: [...]} in the settings file, or another channel"
        ),
    ),
    (
        ("jabatan", "[Aras 9, 62000 PUTRAJAYA]", "[Aras 9, PUTRAJAYA]"),
        (
            f"{_AGENCY}:32: warning: announcement.recipients.kementerian.address[1]: 'PUTRAJAYA' does not begin with a "
            "postcode; write instead: 62000 PUTRAJAYA"
        ),
    ),
    (
        ("jabatan", "title: Ketua Setiausaha\n", "title: YBhg. Datuk Setiausaha\n"),
        (
            f"{_AGENCY}:30: warning: announcement.recipients.kementerian.title: contains the honorific 'YBhg. Datuk', but the "
            "salutation is 'Tuan/Puan,'; write instead: salutation: \"YBhg. Datuk,\""
        ),
    ),
    # Letterhead
    (
        (
            "jabatan",
            "  hours: 8.00 pagi - 5.00 petang\n",
            "  hours: 8.00 pagi - 5.00 petang\n  crest: pantau.yaml\n",
        ),
        (
            f"{_AGENCY}:9: letterhead.crest: pantau.yaml is neither a PNG picture nor an SVG drawing; write instead: the path "
            "of a plain SVG or a PNG file, or leave the key out"
        ),
    ),
    (
        (
            "jabatan",
            "  hours: 8.00 pagi - 5.00 petang\n",
            "  hours: 8.00 pagi - 5.00 petang\n  reference: J.100-1/9/1 (15)\n",
        ),
        (
            f"{_AGENCY}:9: warning: letterhead.reference: ends with the enclosure number of one letter; each letter has its "
            "own; write instead: reference: J.100-1/9/1"
        ),
    ),
    (
        ("jabatan", "  hours: 8.00 pagi - 5.00 petang\n", ""),
        (
            f"{_AGENCY}:4: letterhead.hours: is missing, and the fax and letter of this office prints it; "
            "write instead: hours: 8.00 pagi - 5.00 petang, Isnin - Jumaat"
        ),
    ),
    (
        ("jabatan", '  fax: "+44 20 7946 0101"\n', ""),
        (
            f"{_AGENCY}:4: warning: letterhead.fax: is missing: pages show no fax number; "
            "write instead: fax: 03-1234 5678"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][2][:40] for mistake in MISTAKES])
def test_reach_mistake_is_only_problem(ministry: Ministry, edit: tuple[str, str, str], problem: str) -> None:
    ministry.edit(*edit)
    assert ministry.problems() == [problem]


def test_recipient_duplicate_office_is_refused(ministry: Ministry) -> None:
    copy = """\
    salinan:
      title: ketua setiausaha
      organisation: Kementerian Contoh
      fax: "+44 20 7946 0105"
      channels: [fax]
"""
    ministry.write("jabatan", AGENCY + copy)
    assert ministry.problems() == [
        (
            f"{_AGENCY}:35: announcement.recipients.salinan: is the same office as the recipient at {_AGENCY}:29; "
            "write instead: one entry with all its channels"
        )
    ]


def test_contact_with_invalid_number_is_not_also_unreachable(ministry: Ministry) -> None:
    ministry.edit("pantau", '"+1 202-555-0101"', "[1]")
    assert ministry.problems() == ["pantau.yaml:23: contacts.rahim.sms: must be a text; write instead: TEXT"]
