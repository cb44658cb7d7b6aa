"""The words of a probe as values, what a refusal means, and how much of a server is borne. No I/O."""
