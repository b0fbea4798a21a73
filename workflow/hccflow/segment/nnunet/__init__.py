"""Everything that imports nnU-Net, behind one door.

Importing this package makes nnU-Net importable (`hccflow.segment.nnunet.shim`), so its other modules can import it as
usual, and no command starts nnU-Net by its own entry points.
"""

from hccflow.segment.nnunet.shim import prepare_imports

prepare_imports()
