"""Letters, and the records that are handed out or taken out."""
