"""Mail availability of agencies by day and minute: recorder, cache of the totals, and monthly reports."""
