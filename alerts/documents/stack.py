"""Merging of several letters into one PDF file for printing. Each letter is stored in a file of its own."""

from __future__ import annotations

import io
from collections.abc import Iterable

from pypdf import PdfReader, PdfWriter


def merge_letters(letters: Iterable[bytes], title: str, *, both_sides: bool = False) -> bytes:
    """Return one PDF of all *letters* in order, with a bookmark for each title. It blocks: call it from a thread.

    *both_sides*: for duplex printing; each letter begins on a sheet of its own. Raise `pypdf.errors.PyPdfError` for a
    broken letter.
    """
    with PdfWriter() as writer:
        for letter in letters:
            if both_sides and len(writer.pages) % 2:
                writer.add_blank_page()
            # `strict`: otherwise pypdf would verify all offsets, which is eight times slower, and repair a broken
            # letter, which nobody should sign.
            with PdfReader(io.BytesIO(letter), strict=True) as reader:
                bookmark = reader.metadata.title if reader.metadata else None
                writer.append(reader, outline_item=bookmark or "-", import_outline=False)
        writer.add_metadata({"/Title": title, "/Producer": "Pantau"})
        merged = io.BytesIO()
        writer.write(merged)
        # The objects form reference cycles, a thousand per letter, whose garbage collection would pause the service.
        writer._objects.clear()  # noqa: SLF001 - pypdf has no method for it
    return merged.getvalue()
