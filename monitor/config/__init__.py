"""Configuration: YAML files are parsed into values and problems.

- `files`: YAML parsing with source locations, and reading of pydantic models.
- `fields`: types of single keys: telephone numbers, times, listen addresses, certificates, domains.
- `agency`, `service`: the sections of an agency's file and of the settings file, each with its model, the objects built
  from it, and the checks that concern only this section.
- `model`: the models of both files, and the values of the settings that agency files need.
- `validation`: consistency checks across sections and files.
- `review`: reading and checking of one file by itself. `loading`: all files; unchanged files are not read again.

Errors of shape (a text instead of a list) are found first. Each invalid value is then replaced by a *blank*, a valid
substitute, so that the other checks run as well and one `pantau check` shows all problems.
"""
