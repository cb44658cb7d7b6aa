"""Four dashboards for Grafana as code: `python -m grafana.boards` writes `grafana/dashboards/`."""
