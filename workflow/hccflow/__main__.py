"""``python -m hccflow`` is the same as ``hccflow``: rules use it, since conda environments do not see the checkout."""

import sys

from hccflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
