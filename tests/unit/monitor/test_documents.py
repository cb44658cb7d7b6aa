"""Two pens at work on the same documents: who comes second is told, and nothing is written over unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from monitor.model.document import (
    DocumentEdit,
    DocumentVersion,
    EditSource,
    WrittenDocument,
    diff_documents,
    digest_of,
    documents_after,
)

T0 = datetime(2026, 11, 24, tzinfo=UTC)


def version(agency: str, text: str | None, number: int = 1) -> DocumentVersion:
    name = f"{agency.lower()}.yaml"
    return DocumentVersion(
        agency=agency, number=number, name=name, text=text, source=EditSource.PORTAL, by="Siti", at=T0
    )


def written(agency: str, text: str) -> WrittenDocument:
    return WrittenDocument(agency=agency, name=f"{agency.lower()}.yaml", text=text)


def edit(
    texts: Mapping[str, str], seen: Mapping[str, str] = {}, *, prune: bool = False, over: Mapping[str, int] = {}
) -> DocumentEdit:
    """Return an edit; *seen* has texts, "" for an agency that was seen to be gone."""
    return DocumentEdit(
        documents={agency: written(agency, text) for agency, text in texts.items()},
        started_from={agency: text and digest_of(text) for agency, text in seen.items()},
        prune=prune,
        overwrites=over,
    )


def test_what_nobody_has_written_is_new() -> None:
    found = diff_documents({}, edit({"JCM": "a"}))
    assert [each.agency for each in found.added] == ["JCM"]
    assert found


def test_what_is_the_same_is_left_whoever_wrote_it() -> None:
    found = diff_documents({"JCM": version("JCM", "a")}, edit({"JCM": "a"}))
    assert not found
    assert found.conflicts == ()


def test_a_file_of_another_name_is_another_version() -> None:
    renamed = DocumentEdit(
        documents={"JCM": WrittenDocument(agency="JCM", name="jabatan.yaml", text="a")},
        started_from={"JCM": digest_of("a")},
    )
    assert diff_documents({"JCM": version("JCM", "a")}, renamed).changed


def test_what_is_edited_from_what_is_there_replaces_it() -> None:
    there = version("JCM", "a", 3)
    ((before, after),) = diff_documents({"JCM": there}, edit({"JCM": "b"}, {"JCM": "a"})).changed
    assert (before, after.text) == (there, "b")


def test_what_the_other_has_written_meanwhile_is_in_the_way() -> None:
    for seen in ({"JCM": "a"}, {}):
        found = diff_documents({"JCM": version("JCM", "theirs")}, edit({"JCM": "ours"}, seen))
        assert not found
        (clash,) = found.conflicts
        assert clash.stored.text == "theirs"
        assert clash.submitted is not None
        assert clash.submitted.text == "ours"


def test_a_file_that_was_not_touched_does_not_undo_what_the_other_has_written() -> None:
    found = diff_documents({"JCM": version("JCM", "theirs")}, edit({"JCM": "a"}, {"JCM": "a"}))
    assert not found
    assert found.conflicts == ()
    assert [each.text for each in found.newer] == ["theirs"]


def test_an_agency_that_the_other_took_out_does_not_come_back_unseen() -> None:
    gone = {"JCM": version("JCM", None, 2)}
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": "a"})).conflicts
    assert diff_documents(gone, edit({"JCM": "a"})).conflicts
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": ""})).added
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": "a"}, over={"JCM": 2})).added


def test_an_agency_without_a_file_leaves_only_when_that_is_asked_for_and_what_leaves_was_seen() -> None:
    there = {"JCM": version("JCM", "a"), "MDC": version("MDC", "b")}
    kept = diff_documents(there, edit({"JCM": "a"}, {"MDC": "b"}))
    assert [each.agency for each in kept.missing] == ["MDC"]
    assert not kept
    gone = diff_documents(there, edit({"JCM": "a"}, {"MDC": "b"}, prune=True))
    assert [each.agency for each in gone.removed] == ["MDC"]
    assert gone.missing == ()
    unseen = diff_documents(there, edit({"JCM": "a"}, {"MDC": "before"}, prune=True))
    assert [clash.submitted for clash in unseen.conflicts] == [None]
    assert unseen.removed == ()


def test_one_that_is_to_leave_leaves_if_it_was_seen_and_all_others_stay() -> None:
    there = {code: version(code, "a") for code in ("JCM", "MDC")}
    leaving = DocumentEdit(documents={}, started_from={"JCM": digest_of("a")}, removed=frozenset({"JCM"}))
    found = diff_documents(there, leaving)
    assert [each.agency for each in found.removed] == ["JCM"]
    assert [each.agency for each in found.missing] == ["MDC"]
    clash = diff_documents({**there, "JCM": version("JCM", "theirs", 2)}, leaving)
    assert [each.stored.text for each in clash.conflicts] == ["theirs"]
    assert not clash


def test_the_version_that_somebody_has_looked_at_is_written_over_and_no_other() -> None:
    there = {"JCM": version("JCM", "theirs", 7)}
    assert diff_documents(there, edit({"JCM": "ours"}, over={"JCM": 7})).changed
    assert diff_documents(there, edit({"JCM": "ours"}, over={"JCM": 6})).conflicts


def test_what_is_written_stands_beside_what_is_not_touched() -> None:
    there = {each: version(each, "a") for each in ("JCM", "MDC", "JBARU")}
    change = diff_documents(there, edit({"JCM": "b", "X": "c"}, {"JCM": "a", "MDC": "a"}, prune=False))
    assert {code: each.text for code, each in documents_after(there, change).items()} == {
        "JCM": "b",
        "MDC": "a",
        "JBARU": "a",
        "X": "c",
    }


@dataclass
class CallbackHandler:
    """A pen: its files, what it last knew to be the same as the store, and every text of the store that it has had."""

    files: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    known: dict[str, set[str | None]] = field(default_factory=dict)

    def knows(self, agency: str, text: str | None) -> None:
        self.known.setdefault(agency, set()).add(text)


_AGENCIES = st.sampled_from(["JCM", "MDC"])
_ACT = st.tuples(
    st.sampled_from([0, 1]),
    st.sampled_from(["write", "delete", "apply", "prune", "export"]),
    _AGENCIES,
    st.sampled_from(["a", "b", "c"]),
)


@given(st.lists(_ACT, max_size=30))
def test_no_sequence_of_edits_by_two_pens_loses_one_unseen(acts: Sequence[tuple[int, str, str, str]]) -> None:
    store, desks = dict[str, DocumentVersion](), (CallbackHandler(), CallbackHandler())
    for who, act, agency, text in acts:
        desk = desks[who]
        if act == "write":
            desk.files[agency] = text
        elif act == "delete":
            desk.files.pop(agency, None)
        elif act == "export":
            _export(store, desk)
        else:
            _apply(store, desk, prune=act == "prune")


def _export(store: Mapping[str, DocumentVersion], desk: CallbackHandler) -> None:
    for agency, theirs in store.items():
        mine = desk.files.get(agency)
        if mine in {theirs.text, None} or digest_of(mine or "") == desk.marks.get(agency):
            desk.files.pop(agency, None)
            if theirs.text is not None:
                desk.files[agency] = theirs.text
            desk.marks[agency] = theirs.digest
            desk.knows(agency, theirs.text)


def _apply(store: dict[str, DocumentVersion], desk: CallbackHandler, *, prune: bool) -> None:
    wanted = DocumentEdit(
        documents={agency: written(agency, text) for agency, text in desk.files.items()},
        started_from=dict(desk.marks),
        prune=prune,
    )
    change = diff_documents(store, wanted)
    if change.conflicts:
        return
    for agency, text in [
        *((each.agency, each.text) for each in (*change.added, *(ours for _, ours in change.changed))),
        *((each.agency, None) for each in change.removed),
    ]:
        before = store.get(agency)
        # What is written over, the one who writes has had in their hands, and not an older one of the same name only.
        assert before is None or before.text in desk.known.get(agency, set()), (agency, before)
        store[agency] = version(agency, text, before.number + 1 if before else 1)
    for agency, text in desk.files.items():
        if store[agency].text == text:
            desk.marks[agency] = digest_of(text)
            desk.knows(agency, text)
    for gone in change.removed:
        desk.marks[gone.agency] = ""
        desk.knows(gone.agency, None)
