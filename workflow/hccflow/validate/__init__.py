"""Does it hold elsewhere? Scores of unseen subjects against what happened: discrimination, calibration, benefit."""

from hccflow.validate.options import Options
from hccflow.validate.stage import Results, pool, validate

__all__ = ["Options", "Results", "pool", "validate"]
