"""What a hub offers to a site: what differs there, once, and nothing that would blind it."""

from __future__ import annotations

import pytest

from monitor.model.document import WrittenDocument
from monitor.model.offer import DocumentThere, OfferDifference, OfferThere, offer_difference


def document(agency: str, text: str = "baru") -> WrittenDocument:
    return WrittenDocument(agency=agency, name=f"{agency.lower()}.yaml", text=text)


JCM, MDC = document("JCM"), document("MDC")
OLD = document("JCM", "lama").digest
WANTED = {"JCM": JCM}
THERE = DocumentThere(digest=JCM.digest)
BEHIND = DocumentThere(digest=OLD)
OFFER = OfferThere(digest=JCM.digest)
TAKEN = OfferThere(digest=JCM.digest, is_looked_at=True)
REFUSED = OfferThere(digest=JCM.digest, is_looked_at=True, refusal="no password")
OFFERED = OfferDifference(offered=(JCM,), behind=1)


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(None, None, OFFERED, id="it has none"),
        pytest.param(BEHIND, None, OFFERED, id="it goes by another"),
        pytest.param(THERE, None, OfferDifference(), id="it goes by the same"),
        pytest.param(BEHIND, OFFER, OfferDifference(behind=1), id="offered, and not looked at"),
        pytest.param(BEHIND, REFUSED, OfferDifference(behind=1, refused={"JCM": "no password"}), id="refused"),
        pytest.param(THERE, TAKEN, OfferDifference(), id="taken up"),
        pytest.param(BEHIND, TAKEN, OFFERED, id="taken up, and written over there since"),
        pytest.param(BEHIND, OfferThere(digest="x"), OFFERED, id="another one is offered"),
        pytest.param(BEHIND, OfferThere(digest="x", is_looked_at=True, refusal="x"), OFFERED, id="another was refused"),
        pytest.param(THERE, OfferThere(digest="x"), OfferDifference(offered=(JCM,)), id="the same, and another waits"),
        pytest.param(DocumentThere(digest=""), None, OFFERED, id="it has left there"),
    ],
)
def test_what_differs_is_offered_once(
    there: DocumentThere | None, offered: OfferThere | None, then: OfferDifference
) -> None:
    assert offer_difference(WANTED, {"JCM": there} if there else {}, {"JCM": offered} if offered else {}) == then


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(
            DocumentThere(digest="x"), None, OfferDifference(leaving=("MDC",), behind=1), id="the hub's leaves"
        ),
        pytest.param(DocumentThere(digest="x", is_by_hub=False), None, OfferDifference(), id="its own stays"),
        pytest.param(DocumentThere(digest=""), None, OfferDifference(), id="it has left there"),
        pytest.param(
            DocumentThere(digest="x"), OfferThere(digest=""), OfferDifference(behind=1), id="it is told so already"
        ),
        pytest.param(
            DocumentThere(digest=""),
            OfferThere(digest="", is_looked_at=True),
            OfferDifference(withdrawn=("MDC",)),
            id="gone",
        ),
        pytest.param(None, OfferThere(digest="x"), OfferDifference(withdrawn=("MDC",)), id="it was not taken up yet"),
        pytest.param(
            DocumentThere(digest="x", is_by_hub=False),
            OfferThere(digest=""),
            OfferDifference(withdrawn=("MDC",)),
            id="somebody there has written it again",
        ),
    ],
)
def test_what_the_hub_watches_no_more_leaves_where_the_hub_had_written_it(
    there: DocumentThere | None, offered: OfferThere | None, then: OfferDifference
) -> None:
    present = {"JCM": THERE} | ({"MDC": there} if there else {})
    assert offer_difference(WANTED, present, {"MDC": offered} if offered else {}) == then


def test_a_hub_that_watches_nothing_takes_nothing_out() -> None:
    assert offer_difference({}, {"JCM": THERE}, {"MDC": OFFER}) == OfferDifference()
