"""Gateways: one module per gateway, each with one constant `GATEWAY`. A folder has gateways and their helper modules.

Pantau finds the gateways at start by listing this package. A gateway has the name of its module (`sinch_fax`) or of its
folder and module (`twilio_sms`). A module without `GATEWAY` outside of a folder, a folder without any, or a `GATEWAY`
with another name fails the start.
"""
