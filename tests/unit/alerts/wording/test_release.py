"""Release question of a call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerts.model.channel import Channel
from alerts.model.contact import Address, Recipient
from alerts.model.notification import Addressee, Language
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.wording import release
from tests.unit.alerts.wording.situations import OUTAGE, WORDING

SMS, FAX, LETTER = Channel.SMS, Channel.FAX, Channel.LETTER


@pytest.mark.parametrize(
    ("channels", "malay", "english"),
    [
        ([FAX], "iaitu melalui satu faks. Tekan", "that is one by fax. Press"),
        ([FAX, LETTER], "iaitu melalui satu faks dan satu surat. Tekan", "that is one by fax and one by letter. Press"),
        (
            [LETTER, SMS, SMS, FAX],
            "melalui dua SMS, satu faks dan satu surat.",
            "two by SMS, one by fax and one by letter.",
        ),
    ],
)
def test_release_question_joins_counts_per_channel(channels: Sequence[Channel], malay: str, english: str) -> None:
    office = Recipient(
        key="kementerian",
        language=Language.MALAY,
        addressee=Addressee(title="Ketua Setiausaha", organisation="Kementerian Teladan Malaysia"),
        addresses=tuple(Address(channel=channel, number="03-0000 3000") for channel in channels),
    )

    question = release.question_texts([(OUTAGE, AnnouncementPlan(recipients=(office,)))], WORDING)

    assert malay in question[Language.MALAY]
    assert english in question[Language.ENGLISH]
