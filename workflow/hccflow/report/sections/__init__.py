"""The sections of the report in reading order; a new stage adds its module here and its captions to captions.yaml."""

from __future__ import annotations

from collections.abc import Callable

from hccflow.report.page import Section
from hccflow.report.results import Results
from hccflow.report.sections import (
    baseline,
    comparisons,
    contributions,
    endpoints,
    experiment,
    failures,
    flow,
    headline,
    images,
    leakage,
    limitations,
    models,
    networks,
    performance,
    relate,
    reproducibility,
    segment,
    selection,
    subgroups,
    survival,
    truth,
)

#: Reproducibility stands last: it lists every file that the sections before it have read.
SECTIONS: tuple[Callable[[Results], Section], ...] = (
    headline.build,
    flow.build,
    baseline.build,
    endpoints.build,
    images.build,
    segment.build,
    models.build,
    performance.build,
    comparisons.build,
    experiment.build,
    networks.build,
    truth.build,
    subgroups.build,
    survival.build,
    relate.build,
    selection.build,
    contributions.build,
    leakage.build,
    failures.build,
    limitations.build,
    reproducibility.build,
)
