"""One module a command: its options, its help, one call of its verb, what it prints.

Verbs are imported inside the commands, so that ``agecls --help`` imports neither torch nor pandas.
"""
