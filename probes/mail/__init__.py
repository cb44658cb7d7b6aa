"""Test message, its token, and received mail: reports, copies, forgeries. No I/O."""
