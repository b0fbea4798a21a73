"""The phantom study: real DICOM and tables from a documented process whose best possible result is known.

`docs/phantom.md` states the process with its formulas. Everything follows from the parameters on a cohort's card and
from one random stream per subject and purpose, so that a larger cohort begins with the same subjects.
"""
