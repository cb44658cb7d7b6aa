"""Ways to reach people: one module a gateway, each ending in one constant `GATEWAY`; a folder where a provider has several.

The package is listed at start. A gateway bears the name of its module, in a folder behind that of the folder: `sinch_fax`,
`twilio_sms`. A module without `GATEWAY`, or whose kind bears another name, stops the start.
"""
