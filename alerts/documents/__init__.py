"""Printed documents as PDF/A-2a and PDF/UA-1: letter, fax, fax list, incident record, docket, monthly report.

`alerts.wording` provides the texts; this package arranges them. The typst templates beside the modules receive data and
never markup.
"""
