"""What the runs mean: whose fault a failure is, how healthy a route, a direction and an agency are. Decisions only."""
