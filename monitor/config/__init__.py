"""Reading the configuration: YAML files in, values or problems out.

- `files`: a YAML file with the places of its keys, and how a model is read from it: pydantic says what has the wrong
  shape, `files.reading` says it in words and puts a blank there, so that the rest is read as well.
- `fields`: what single keys hold: telephone numbers, times, addresses to listen on, certificates, domains.
- `agency`, `service`: the sections, each with its model, what is built of it, and what makes no sense in it alone.
- `model`: what was read, as values: the settings, the agencies, and what the first provide to the second.
- `sense`: whether the values agree with each other, across sections and files.
- `review`: one file, read and checked by itself. `loading`: all of them; what has not changed is not read anew.

*Shape* comes first, then *sense*, which runs over blanks, too: one `pantau check` shows everything that is wrong.
"""
