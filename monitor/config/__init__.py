"""Configuration: YAML files are parsed into values or problems.

- `files`: YAML parsing with source locations, and models. pydantic finds values of the wrong shape; `files.reading`
  words the errors and substitutes a blank, so that the rest is read as well.
- `fields`: types of single keys: telephone numbers, times, listen addresses, certificates, domains.
- `agency`, `service`: the sections. Each has its model, what is built from it, and the checks that concern it alone.
- `model`: the parsed values: settings, agencies, and what the settings provide to the agencies.
- `validation`: consistency checks across sections and files.
- `review`: one file, read and checked by itself. `loading`: all files; unchanged files are not read again.

Shape errors are found first. Validation runs over blanks, too, so one `pantau check` shows all problems.
"""
