"""The command line: one file a command, and the tables that commands print.

Each command imports what it needs when it runs, so that `--help` and a typing error answer at once. May import
everything below; nothing imports this package but `tuning.__main__`.
"""
