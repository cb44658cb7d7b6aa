"""Whether the values agree with each other, and lead to where somebody can be reached."""
