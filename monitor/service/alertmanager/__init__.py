"""Interface to the NOC's Alertmanager: receives its alerts, and sends it Pantau's incidents as alerts."""
