"""What is put on paper, as PDF/A-2a and PDF/UA-1: the letter, the fax page, the list of several by fax, the dossier, the docket.

The words of what is sent are `alerts.wording`; this package lays them out. The typst templates lie beside the
modules; they get data and never markup.
"""
