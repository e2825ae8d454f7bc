"""Events of the engine that become signals of the session as they are."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine import messages as m
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    CloudSeen,
    ComparisonReady,
    DataKernelsReady,
    FieldsReady,
    ForegroundReady,
    IterationReady,
    ReferencesReady,
    Snapshot,
    TheoryAbsent,
)


@dataclass(frozen=True)
class Passed:
    """An event that becomes a signal as it is.

    Attributes:
        signal: its name; part: the attribute of the event that is passed, empty for the event itself.
        is_answer: dropped once the recipe has changed since it was asked for.
    """

    signal: str
    part: str = ""
    is_answer: bool = True


PASSED_ON: dict[type, Passed] = {
    Snapshot: Passed("snapshot_ready", is_answer=False),
    CloudSeen: Passed("cloud_seen", is_answer=False),
    m.MetricsReady: Passed("metrics_ready", is_answer=False),
    m.StoredCloud: Passed("stored_cloud_ready", is_answer=False),
    FieldsReady: Passed("fields_ready", is_answer=False),
    m.Exported: Passed("exported", "paths", is_answer=False),
    m.FigurePreview: Passed("figure_drawn", is_answer=False),
    m.RunKept: Passed("run_kept", "folder", is_answer=False),
    ForegroundReady: Passed("foreground_ready"),
    ComparisonReady: Passed("comparison_ready", "comparisons"),
    CertificateReady: Passed("certificate_ready", "certificate"),
    Answered: Passed("answered"),
    ReferencesReady: Passed("references_ready", "lines"),
    TheoryAbsent: Passed("theory_absent", "reason"),
    IterationReady: Passed("iteration_ready", "iteration"),
    m.LoopEnded: Passed("loop_ended"),
    m.WidthReady: Passed("width_ready", "row"),
    DataKernelsReady: Passed("kernel_ready"),
}
