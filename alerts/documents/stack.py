"""Several letters in one file for printing. Each letter is stored by itself."""

from __future__ import annotations

import io
from collections.abc import Iterable

from pypdf import PdfReader, PdfWriter


def stacked(letters: Iterable[bytes], title: str, *, both_sides: bool = False) -> bytes:
    """Merge our PDFs in this order, with a bookmark for each title. Blocks: call it from a thread.

    *both_sides*: for duplex printers; no letter begins on the back of another. Raise `pypdf.errors.PyPdfError` for a
    broken letter.
    """
    with PdfWriter() as writer:
        for letter in letters:
            if both_sides and len(writer.pages) % 2:
                writer.add_blank_page()
            # `strict` trusts the file, while pypdf otherwise verifies all offsets (eight times slower) and repairs what
            # nobody should sign.
            with PdfReader(io.BytesIO(letter), strict=True) as read:
                named = read.metadata.title if read.metadata else None
                writer.append(read, outline_item=named or "-", import_outline=False)
        writer.add_metadata({"/Title": title, "/Producer": "Pantau"})
        made = io.BytesIO()
        writer.write(made)
        # The objects form reference cycles: a thousand per letter, and collecting them would stop the service.
        writer._objects.clear()  # noqa: SLF001 - its `close` does nothing
    return made.getvalue()
