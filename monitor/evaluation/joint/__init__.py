"""Joint evaluation of sites: status of a site, its freshness, and the quorum. Pure."""
