"""``python -m ptyshipper``."""

from ptyshipper.cli import main

main()
