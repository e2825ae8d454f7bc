"""What the session tells the window: one signal for everything that can come back from the engine."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal


class Told(QObject):
    """The signals of `app.session.Session`; the comment says what each carries."""

    engine_ready = Signal(object)  # EngineReady
    recipe_changed = Signal(object)  # Recipe
    running_changed = Signal(bool)
    experiment_changed = Signal(object)  # Built
    snapshot_ready = Signal(object)  # Snapshot
    cloud_seen = Signal(object)  # CloudSeen
    metrics_ready = Signal(object)  # MetricsReady
    stored_cloud_ready = Signal(object)  # StoredCloud
    foreground_ready = Signal(object)  # ForegroundReady
    comparison_ready = Signal(object)  # one Comparison a hidden layer
    certificate_ready = Signal(object)  # Certificate
    answered = Signal(object)  # Answered, to a question of the table
    references_ready = Signal(object)  # ReferenceLines
    theory_ready = Signal(object)  # TheoryPicture, not is_current while a drag is ahead of it
    theory_absent = Signal(str)
    iteration_ready = Signal(object)  # Iteration
    loop_ended = Signal(object)  # LoopEnded
    width_ready = Signal(object)  # WidthRow
    fields_ready = Signal(object)  # FieldsReady
    kernel_ready = Signal(object)  # DataKernelsReady
    retuned = Signal(object)  # Retuned
    answers_stale = Signal(str)
    recipe_complete = Signal(object)  # RecipeComplete
    task_card_ready = Signal(object)  # TaskCard
    device_changed = Signal(str)
    progress = Signal(str, float, str)
    job_changed = Signal(str, bool)  # name, is it running
    job_cancelled = Signal(str)
    exported = Signal(object)  # paths
    figure_drawn = Signal(object)  # FigurePreview
    run_kept = Signal(object)  # the folder in the store that the run in hand is kept in
    data_ready = Signal(object)  # DataPreview
    status = Signal(str)
    failed = Signal(str)
    refused = Signal(str, str)  # path and sentence
