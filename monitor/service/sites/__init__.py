"""Cooperation of sites: heartbeat and published runs of a site; at the hub, statuses, documents and links of sites."""
