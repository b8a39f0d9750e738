"""What ``app.c`` runs as ``__main__``."""

import gc
import sys

gc.disable()  # until the program runs: what is loaded until then stays loaded
sys.frozen = True  # type: ignore[attr-defined] # as PyInstaller and others have it

from ptyshipper.cli import main_bundled  # noqa: E402

main_bundled()
