"""Documents that a hub sends to a site: each difference once, and never the removal of all."""

from __future__ import annotations

import pytest

from monitor.model.desired_document import (
    ActualDocument,
    DesiredDocumentState,
    SiteDocumentChanges,
    site_document_changes,
)
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
REFUSED = DesiredDocumentState(digest=JCM.digest, is_processed=True, refusal="no password")
OFFERED = SiteDocumentChanges(updated=(JCM,), outdated=1)


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(None, None, OFFERED, id="it has none"),
        pytest.param(BEHIND, None, OFFERED, id="it goes by another"),
        pytest.param(THERE, None, SiteDocumentChanges(), id="it goes by the same"),
        pytest.param(BEHIND, OFFER, SiteDocumentChanges(outdated=1), id="offered, and not looked at"),
        pytest.param(BEHIND, REFUSED, SiteDocumentChanges(outdated=1, rejected={"JCM": "no password"}), id="refused"),
        pytest.param(THERE, TAKEN, SiteDocumentChanges(), id="taken up"),
        pytest.param(BEHIND, TAKEN, OFFERED, id="taken up, and written over there since"),
        pytest.param(BEHIND, DesiredDocumentState(digest="x"), OFFERED, id="another one is offered"),
        pytest.param(
            BEHIND,
            DesiredDocumentState(digest="x", is_processed=True, refusal="x"),
            OFFERED,
            id="another was refused",
        ),
        pytest.param(
            THERE,
            DesiredDocumentState(digest="x"),
            SiteDocumentChanges(updated=(JCM,)),
            id="the same, and another waits",
        ),
        pytest.param(ActualDocument(digest=""), None, OFFERED, id="it has left there"),
    ],
)
def test_site_document_changes_offers_difference_once(
    there: ActualDocument | None, offered: DesiredDocumentState | None, then: SiteDocumentChanges
) -> None:
    assert site_document_changes(WANTED, {"JCM": there} if there else {}, {"JCM": offered} if offered else {}) == then


@pytest.mark.parametrize(
    ("there", "offered", "then"),
    [
        pytest.param(
            ActualDocument(digest="x"), None, SiteDocumentChanges(removed=("MDC",), outdated=1), id="the hub's leaves"
        ),
        pytest.param(ActualDocument(digest="x", is_by_hub=False), None, SiteDocumentChanges(), id="its own stays"),
        pytest.param(ActualDocument(digest=""), None, SiteDocumentChanges(), id="it has left there"),
        pytest.param(
            ActualDocument(digest="x"),
            DesiredDocumentState(digest=""),
            SiteDocumentChanges(outdated=1),
            id="it is told so already",
        ),
        pytest.param(
            ActualDocument(digest=""),
            DesiredDocumentState(digest="", is_processed=True),
            SiteDocumentChanges(withdrawn=("MDC",)),
            id="gone",
        ),
        pytest.param(
            None,
            DesiredDocumentState(digest="x"),
            SiteDocumentChanges(withdrawn=("MDC",)),
            id="it was not taken up yet",
        ),
        pytest.param(
            ActualDocument(digest="x", is_by_hub=False),
            DesiredDocumentState(digest=""),
            SiteDocumentChanges(withdrawn=("MDC",)),
            id="somebody there has written it again",
        ),
    ],
)
def test_site_document_changes_removes_documents_written_by_hub_only(
    there: ActualDocument | None, offered: DesiredDocumentState | None, then: SiteDocumentChanges
) -> None:
    present = {"JCM": THERE} | ({"MDC": there} if there else {})
    assert site_document_changes(WANTED, present, {"MDC": offered} if offered else {}) == then


def test_site_document_changes_hub_without_agencies_removes_nothing() -> None:
    assert site_document_changes({}, {"JCM": THERE}, {"MDC": OFFER}) == SiteDocumentChanges()
