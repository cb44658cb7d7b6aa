"""Gateways: one module per gateway, each with one constant `GATEWAY`; a folder for a provider with several.

The package is listed at start. A gateway has the name of its module, prefixed with that of its folder: `sinch_fax`,
`twilio_sms`. A module without `GATEWAY`, or whose kind has another name, stops the start.
"""
