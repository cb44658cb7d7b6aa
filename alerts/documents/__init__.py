"""What is sent on paper: the letter and the fax page, as PDF/A-2a and PDF/UA-1.

The words are `alerts.wording`; this package lays them out. Templates get data and never markup.
"""
