"""Concurrent edits of the documents: the second editor gets a conflict, and no version is overwritten unseen."""

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
    """Return an edit; *seen* has texts, "" for an agency that was seen removed."""
    return DocumentEdit(
        documents={agency: written(agency, text) for agency, text in texts.items()},
        started_from={agency: text and digest_of(text) for agency, text in seen.items()},
        prune=prune,
        overwrites=over,
    )


def test_diff_new_document_is_added() -> None:
    found = diff_documents({}, edit({"JCM": "a"}))
    assert [each.agency for each in found.added] == ["JCM"]
    assert found


def test_diff_equal_document_is_unchanged() -> None:
    found = diff_documents({"JCM": version("JCM", "a")}, edit({"JCM": "a"}))
    assert not found
    assert found.conflicts == ()


def test_diff_renamed_file_is_changed() -> None:
    renamed = DocumentEdit(
        documents={"JCM": WrittenDocument(agency="JCM", name="jabatan.yaml", text="a")},
        started_from={"JCM": digest_of("a")},
    )
    assert diff_documents({"JCM": version("JCM", "a")}, renamed).changed


def test_diff_edit_of_stored_version_is_changed() -> None:
    there = version("JCM", "a", 3)
    ((before, after),) = diff_documents({"JCM": there}, edit({"JCM": "b"}, {"JCM": "a"})).changed
    assert (before, after.text) == (there, "b")


def test_diff_edit_of_older_version_is_conflict() -> None:
    for seen in ({"JCM": "a"}, {}):
        found = diff_documents({"JCM": version("JCM", "theirs")}, edit({"JCM": "ours"}, seen))
        assert not found
        (clash,) = found.conflicts
        assert clash.stored.text == "theirs"
        assert clash.submitted is not None
        assert clash.submitted.text == "ours"


def test_diff_untouched_file_keeps_newer_stored_version() -> None:
    found = diff_documents({"JCM": version("JCM", "theirs")}, edit({"JCM": "a"}, {"JCM": "a"}))
    assert not found
    assert found.conflicts == ()
    assert [each.text for each in found.newer] == ["theirs"]


def test_diff_removed_agency_returns_only_if_removal_was_seen() -> None:
    gone = {"JCM": version("JCM", None, 2)}
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": "a"})).conflicts
    assert diff_documents(gone, edit({"JCM": "a"})).conflicts
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": ""})).added
    assert diff_documents(gone, edit({"JCM": "a"}, {"JCM": "a"}, over={"JCM": 2})).added


def test_diff_missing_file_removes_only_with_prune_and_seen_version() -> None:
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


def test_diff_removed_agency_needs_seen_version_and_others_stay() -> None:
    there = {code: version(code, "a") for code in ("JCM", "MDC")}
    leaving = DocumentEdit(documents={}, started_from={"JCM": digest_of("a")}, removed=frozenset({"JCM"}))
    found = diff_documents(there, leaving)
    assert [each.agency for each in found.removed] == ["JCM"]
    assert [each.agency for each in found.missing] == ["MDC"]
    clash = diff_documents({**there, "JCM": version("JCM", "theirs", 2)}, leaving)
    assert [each.stored.text for each in clash.conflicts] == ["theirs"]
    assert not clash


def test_diff_overwrite_applies_to_named_version_only() -> None:
    there = {"JCM": version("JCM", "theirs", 7)}
    assert diff_documents(there, edit({"JCM": "ours"}, over={"JCM": 7})).changed
    assert diff_documents(there, edit({"JCM": "ours"}, over={"JCM": 6})).conflicts


def test_documents_after_merges_changes_with_untouched() -> None:
    there = {each: version(each, "a") for each in ("JCM", "MDC", "JBARU")}
    change = diff_documents(there, edit({"JCM": "b", "X": "c"}, {"JCM": "a", "MDC": "a"}, prune=False))
    assert {code: each.text for code, each in documents_after(there, change).items()} == {
        "JCM": "b",
        "MDC": "a",
        "JBARU": "a",
        "X": "c",
    }


@dataclass
class Editor:
    """Editor with its files, the digests that it last saw in the store, and every stored text that it has read."""

    files: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    known: dict[str, set[str | None]] = field(default_factory=dict)

    def remember(self, agency: str, text: str | None) -> None:
        self.known.setdefault(agency, set()).add(text)


_AGENCIES = st.sampled_from(["JCM", "MDC"])
_ACT = st.tuples(
    st.sampled_from([0, 1]),
    st.sampled_from(["write", "delete", "apply", "prune", "export"]),
    _AGENCIES,
    st.sampled_from(["a", "b", "c"]),
)


@given(st.lists(_ACT, max_size=30))
def test_any_edits_of_two_editors_lose_none_unseen(acts: Sequence[tuple[int, str, str, str]]) -> None:
    store, editors = dict[str, DocumentVersion](), (Editor(), Editor())
    for who, act, agency, text in acts:
        editor = editors[who]
        if act == "write":
            editor.files[agency] = text
        elif act == "delete":
            editor.files.pop(agency, None)
        elif act == "export":
            _export(store, editor)
        else:
            _apply(store, editor, prune=act == "prune")


def _export(store: Mapping[str, DocumentVersion], editor: Editor) -> None:
    for agency, theirs in store.items():
        mine = editor.files.get(agency)
        if mine in {theirs.text, None} or digest_of(mine or "") == editor.digests.get(agency):
            editor.files.pop(agency, None)
            if theirs.text is not None:
                editor.files[agency] = theirs.text
            editor.digests[agency] = theirs.digest
            editor.remember(agency, theirs.text)


def _apply(store: dict[str, DocumentVersion], editor: Editor, *, prune: bool) -> None:
    wanted = DocumentEdit(
        documents={agency: written(agency, text) for agency, text in editor.files.items()},
        started_from=dict(editor.digests),
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
        # The editor has read the version that it overwrites, not only an older one of the same name.
        assert before is None or before.text in editor.known.get(agency, set()), (agency, before)
        store[agency] = version(agency, text, before.number + 1 if before else 1)
    for agency, text in editor.files.items():
        if store[agency].text == text:
            editor.digests[agency] = digest_of(text)
            editor.remember(agency, text)
    for gone in change.removed:
        editor.digests[gone.agency] = ""
        editor.remember(gone.agency, None)
