"""The command line: one file per command. What a command does is done by the rooms below."""
