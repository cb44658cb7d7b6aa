"""Configuration: YAML files are parsed into values or problems.

- `files`: YAML parsing with source locations, and models. pydantic finds values of the wrong shape; `files.reading`
  words the errors and substitutes a blank, so that the rest is read as well.
- `fields`: types of single keys: telephone numbers, times, listen addresses, certificates, domains.
- `agency`, `service`: the sections. Each has its model, what is built from it, and the checks that concern it alone.
- `model`: the parsed values: settings, agencies, and what the settings provide to the agencies.
- `validation`: consistency checks across sections and files.
- `review`: one file, read and checked by itself. `loading`: all files; unchanged files are not read again.

Errors of shape (a text instead of a list) are found first, and each invalid value is replaced by a valid one, a *blank*.
So the other checks run as well, and one `pantau check` shows all problems.
"""
