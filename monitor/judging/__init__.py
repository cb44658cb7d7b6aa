"""What the runs mean.

Whose fault a failure is, how healthy a direction and an agency are; and whether this process itself does its work.
Decisions only.
"""
