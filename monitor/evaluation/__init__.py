"""What the runs mean: whose fault a failure is, how healthy a direction and an agency are. Decisions only.

And whether this process itself does its work.
"""
