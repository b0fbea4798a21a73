"""Errors that a user can act on.

Every message says what went wrong, where, what was expected, what was found and what to do; the command line prints
it as one line and exits with status 2. Inside a batch the same sentence becomes the ``reason`` of a ``failed`` row.
"""

from __future__ import annotations


class HccflowError(Exception):
    """A problem with what the user gave, told in one sentence.

    Parameters
    ----------
    what : str
        What went wrong, for example ``"unknown cohort in primary.cohort"``.
    where : str, optional
        File, row, column or config key.
    expected, found : object, optional
        What would have been right, and what was there instead.
    todo : str, optional
        What the user can do about it.
    """

    def __init__(
        self, what: str, *, where: object = None, expected: object = None, found: object = None, todo: str | None = None
    ) -> None:
        self.what, self.where, self.expected, self.found, self.todo = what, where, expected, found, todo
        parts = [str(what)]
        if where is not None:
            parts.append(f"where: {where}")
        if expected is not None:
            parts.append(f"expected: {expected}")
        if found is not None:
            parts.append(f"found: {found}")
        if todo is not None:
            parts.append(f"do: {todo}")
        super().__init__("; ".join(parts).replace("\n", " "))


class ConfigError(HccflowError):
    """The study's configuration contradicts its schema or itself."""


class TableError(HccflowError):
    """A table does not follow its schema."""


class DataAbsentError(HccflowError):
    """A file or folder that the study names is not there."""


class GeometryError(HccflowError):
    """An image's geometry is not what it claims to be."""


class RoiError(HccflowError):
    """A region of interest is empty, too small or does not fit its image."""


class LeakageError(HccflowError):
    """Something would have let evaluation data teach a model."""


class FreezeError(HccflowError):
    """A frozen model is not what its ``freeze.json`` says."""


class FitError(HccflowError):
    """A model cannot be fitted on the rows that it is given."""


class EngineError(HccflowError):
    """Snakemake or DVC stopped, or the two do not agree."""
