"""The script that PyInstaller's bootloader runs."""

import gc

gc.disable()  # until the program runs: what is loaded until then stays loaded

from ptyshipper.cli import main_bundled  # noqa: E402

main_bundled()
