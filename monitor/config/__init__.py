"""Reading the configuration: YAML files in, values or problems out.

Read in two passes. *Shape*: is every key known, present and of its kind (`form`, `reading`). *Sense*: do the values
agree with each other, with the circular and with what can be reached (`circular`, `reach`, `duplicate`, ...). The
second pass also runs over files that failed the first, with blanks in the broken places, so that one run of
`pantau check` shows everything that is wrong.
"""
