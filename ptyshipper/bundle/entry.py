"""What ``app.c`` runs as ``__main__``."""

from __future__ import annotations

import _imp
import gc
import sys
from _frozen_importlib import FrozenImporter

import frozen_code  # type: ignore[import-not-found] # it is in app.c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

gc.disable()  # until the program runs: what is loaded until then stays loaded
sys.frozen = True  # type: ignore[attr-defined] # as PyInstaller and others have it


class Importer(FrozenImporter):
    """Loads a module, and lets go of the memory that its code was read from."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        code = _imp.get_frozen_object(module.__name__)
        frozen_code.release()
        exec(code, module.__dict__)


sys.meta_path[sys.meta_path.index(FrozenImporter)] = Importer

from ptyshipper.cli import main_bundled  # noqa: E402

main_bundled()
