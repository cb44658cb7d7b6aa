"""The message as it is sent, its token, and what arrives: reports, copies, forgeries. No I/O."""
