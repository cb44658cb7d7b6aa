"""What a notice says: per channel and language, from texts that a site may edit.

The texts are in `ms.yaml` and `en.yaml` beside this file; a site's own directory may replace any of them (see
`alerts.wording.texts`). The moments, the rules for an SMS and the choice of a text are code.
"""
