"""Several letters as one file, to be printed at once. It is for the printer: what is kept is each letter by itself."""

from __future__ import annotations

import io
from collections.abc import Iterable

from pypdf import PdfReader, PdfWriter


def stacked(letters: Iterable[bytes], title: str, *, both_sides: bool = False) -> bytes:
    """Return PDFs of ours as one, in this order, each with its title as a bookmark. It blocks: call it from a thread.

    *both_sides*: for a printer that prints on both sides of a sheet. Then no letter begins on the back of another.
    A letter that is broken raises `pypdf.errors.PyPdfError`.
    """
    with PdfWriter() as writer:
        for letter in letters:
            if both_sides and len(writer.pages) % 2:
                writer.add_blank_page()
            # Ours: `strict` takes each at its word, where pypdf looks first whether all objects are where it says (an eighth of
            # the time), and mends what nobody should sign.
            with PdfReader(io.BytesIO(letter), strict=True) as read:
                named = read.metadata.title if read.metadata else None
                writer.append(read, outline_item=named or "-", import_outline=False)
        writer.add_metadata({"/Title": title, "/Producer": "Pantau"})
        made = io.BytesIO()
        writer.write(made)
        # They hold each other: a thousand a letter, that the collector would stop the service for.
        writer._objects.clear()  # noqa: SLF001 - its `close` does nothing
    return made.getvalue()
