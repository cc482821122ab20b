"""`python -m selfmae` is the command `selfmae`."""

from selfmae.cli import main

main()
