"""The commands of `python -m data`, one file per command.

Each command imports what it needs when it runs, so that `--help` and a typing error answer at once. May import
everything below; nothing imports this package but `data.__main__`.
"""
