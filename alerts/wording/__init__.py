"""Texts of notifications, per channel and language, which an installation may edit.

The texts are in `ms.yaml` and `en.yaml` beside this file; the installation's own directory may replace any of them
(`alerts.wording.texts`). The format of times, the rules for SMS and the choice of a text are code.
"""
