"""Texts of notifications, per channel and language, which a site may edit.

The texts are in `ms.yaml` and `en.yaml` beside this file; a site's own directory may replace any of them
(`alerts.wording.texts`). Times, the rules for SMS and the choice of a text are code.
"""
