"""A fax service that reaches only machines in this process, and speaks Sinch's Fax API v3.

    machine.py  the machines: how they behave, and the pages they have received
    service.py  what happens to an accepted fax
    api.py      the HTTP API

Numbers as in `pantau_lab.carrier`: "+60 3-0000 02xx" has the right form and cannot belong to anybody.
"""
