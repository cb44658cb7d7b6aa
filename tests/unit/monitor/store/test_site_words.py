from __future__ import annotations

import psycopg

from monitor.store.sites.link import in_words


def test_what_a_library_had_in_memory_breaks_no_line_of_what_is_said() -> None:
    error = psycopg.Error('could not load private key file "johor.key": \x07\x1b[2J\n\x80 Permission denied')
    assert in_words(error) == 'could not load private key file "johor.key": [2J Permission denied'
