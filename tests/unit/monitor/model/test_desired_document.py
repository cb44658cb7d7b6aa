"""What a hub offers to a site: what differs there, once, and nothing that would blind it."""

from __future__ import annotations

import pytest

from monitor.model.desired_document import ActualDocument, DesiredDocumentState, OfferDifference, offer_difference
from monitor.model.document import WrittenDocument


def document(agency: str, text: str = "baru") -> WrittenDocument:
    return WrittenDocument(agency=agency, name=f"{agency.lower()}.yaml", text=text)


JCM, MDC = document("JCM"), document("MDC")
OLD = document("JCM", "lama").digest
WANTED = {"JCM": JCM}
THERE = ActualDocument(digest=JCM.digest)
BEHIND = ActualDocument(digest=OLD)
OFFER = DesiredDocumentState(digest=JCM.digest)
TAKEN = DesiredDocumentState(digest=JCM.digest, is_processed=True)
REFUSED = DesiredDocumentState(digest=JCM.digest, is_processed=True, rejection_reason="no password")
OFFERED = OfferDifference(offered=(JCM,), outdated=1)


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(None, None, OFFERED, id="it has none"),
        pytest.param(BEHIND, None, OFFERED, id="it goes by another"),
        pytest.param(THERE, None, OfferDifference(), id="it goes by the same"),
        pytest.param(BEHIND, OFFER, OfferDifference(outdated=1), id="offered, and not looked at"),
        pytest.param(BEHIND, REFUSED, OfferDifference(outdated=1, rejected={"JCM": "no password"}), id="refused"),
        pytest.param(THERE, TAKEN, OfferDifference(), id="taken up"),
        pytest.param(BEHIND, TAKEN, OFFERED, id="taken up, and written over there since"),
        pytest.param(BEHIND, DesiredDocumentState(digest="x"), OFFERED, id="another one is offered"),
        pytest.param(
            BEHIND,
            DesiredDocumentState(digest="x", is_processed=True, rejection_reason="x"),
            OFFERED,
            id="another was refused",
        ),
        pytest.param(
            THERE, DesiredDocumentState(digest="x"), OfferDifference(offered=(JCM,)), id="the same, and another waits"
        ),
        pytest.param(ActualDocument(digest=""), None, OFFERED, id="it has left there"),
    ],
)
def test_what_differs_is_offered_once(
    there: ActualDocument | None, offered: DesiredDocumentState | None, then: OfferDifference
) -> None:
    assert offer_difference(WANTED, {"JCM": there} if there else {}, {"JCM": offered} if offered else {}) == then


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(
            ActualDocument(digest="x"), None, OfferDifference(removed=("MDC",), outdated=1), id="the hub's leaves"
        ),
        pytest.param(ActualDocument(digest="x", is_by_hub=False), None, OfferDifference(), id="its own stays"),
        pytest.param(ActualDocument(digest=""), None, OfferDifference(), id="it has left there"),
        pytest.param(
            ActualDocument(digest="x"),
            DesiredDocumentState(digest=""),
            OfferDifference(outdated=1),
            id="it is told so already",
        ),
        pytest.param(
            ActualDocument(digest=""),
            DesiredDocumentState(digest="", is_processed=True),
            OfferDifference(withdrawn=("MDC",)),
            id="gone",
        ),
        pytest.param(
            None, DesiredDocumentState(digest="x"), OfferDifference(withdrawn=("MDC",)), id="it was not taken up yet"
        ),
        pytest.param(
            ActualDocument(digest="x", is_by_hub=False),
            DesiredDocumentState(digest=""),
            OfferDifference(withdrawn=("MDC",)),
            id="somebody there has written it again",
        ),
    ],
)
def test_what_the_hub_watches_no_more_leaves_where_the_hub_had_written_it(
    there: ActualDocument | None, offered: DesiredDocumentState | None, then: OfferDifference
) -> None:
    present = {"JCM": THERE} | ({"MDC": there} if there else {})
    assert offer_difference(WANTED, present, {"MDC": offered} if offered else {}) == then


def test_a_hub_that_watches_nothing_takes_nothing_out() -> None:
    assert offer_difference({}, {"JCM": THERE}, {"MDC": OFFER}) == OfferDifference()
