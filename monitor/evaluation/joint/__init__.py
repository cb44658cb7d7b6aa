"""Joint evaluation of several sites (places from which mail is probed): status, freshness and quorum. Pure."""
