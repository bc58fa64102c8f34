"""Write the events of a sweep to MLflow: the parent run, the trials' child runs, the champion's registered model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.config.run_folder import RunFolder
from tuning.config.schema.space import AXES
from tuning.tracking.events import (
    ChampionChosen,
    ChampionTested,
    EpochDone,
    Event,
    ReportWritten,
    SweepEnded,
    SweepOpened,
    SystemMetricsSampled,
    TrialEnded,
    TrialStarted,
    parse_event,
)
from tuning.tracking.mlflow_sweep import CHAMPION_TAG, NOTE_TAG, STATUS_TAG, TRIAL_TAG, MlflowSweep
from tuning.tracking.model_card import model_card
from tuning.tracking.outbox import LineRejected, ReceiverUnavailable
from tuning.tracking.promotion import manual_promotion, promote_version
from tuning.tracking.registry import ModelVersion, describe_version, newest_version, register_champion
from tuning.tracking.server import mlflow_client, mlflow_errors_for_outbox, unreachable_reason
from tuning.tracking.views import sweep_note
from tuning.training.evaluation_metrics import METRICS_FILE, EvaluationError, EvaluationMetrics

_TEST_METRICS = ("accuracy", "macro_f1", "num_clips")
"""Those of `test/metrics.json` that are logged as `test_accuracy` and so on."""
_RUN_STATUS = {"done": "FINISHED", "stopped": "FINISHED", "unfinished": "KILLED"}
"""MLflow's status of a trial's run; `FAILED` for any other status of the trial."""
_MAX_TRIALS = 5000


class MlflowWriter:
    """Writes events to MLflow. Writing an event twice has the same result as writing it once."""

    def __init__(self, sweep: MlflowSweep, run: RunFolder, unavailable: str = "") -> None:
        """Create a writer.

        Args:
            sweep: where the run is in MLflow.
            run: the run.
            unavailable: why nothing may be written there; empty if it may.
        """
        self.sweep, self.run, self.unavailable = sweep, run, unavailable
        self.model_version = ""
        """Version of the champion's registered model, once it is registered."""
        self.promotion = ""
        """Whether that version was promoted, in one line, once it is tested."""
        self._parent: Any = None
        self._run_ids: dict[str, str] = {}
        self._epochs: dict[str, set[int]] = {}
        self._reachable = False

    def write(self, line: str) -> None:
        """Write one line of the outbox.

        Raises:
            ReceiverUnavailable: MLflow does not respond, or its database is locked or its disk full.
            LineRejected: MLflow will never accept the line, it is not an event, or its files were deleted.
        """
        try:
            event = parse_event(line)
        except ValueError:
            raise LineRejected(f"a damaged line: {line[:80]!r}") from None
        if self.unavailable:
            raise ReceiverUnavailable(self.unavailable)
        with mlflow_errors_for_outbox(self.sweep.uri):
            # After a failure check first whether MLflow responds: its client would retry a database for minutes, and a
            # frozen server would carry out every repeated request once it resumes.
            if not self._reachable and (reason := unreachable_reason(self.sweep.uri)):
                raise ReceiverUnavailable(reason)
            self._reachable = False
            self._write(event)
            self._reachable = True

    def _write(self, event: Event) -> None:
        match event:
            case SweepOpened():
                self._open_sweep()
            case TrialStarted():
                self._start_trial(event)
            case EpochDone():
                self._log_epoch(event)
            case TrialEnded():
                self._end_trial(event)
            case ChampionChosen():
                self._register_champion(event)
            case ChampionTested():
                self._log_test(event)
            case ReportWritten():
                self._log_report()
            case SystemMetricsSampled():
                self._log_system_metrics(event)
            case SweepEnded():
                self._end_sweep(event)

    @property
    def _client(self) -> Any:
        return mlflow_client(self.sweep.uri)

    def _open_sweep(self) -> None:
        self._client.update_run(self.sweep.parent_run_id, status="RUNNING")
        for file in (self.run.split, self.run.groups, self.run.defects):
            if file.exists():
                self._client.log_artifact(self.sweep.parent_run_id, str(file), "split")

    def _start_trial(self, event: TrialStarted) -> None:
        from mlflow.entities import Param

        found = self.sweep.find_trial_runs(event.trial)
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {"mlflow.parentRunId": self.sweep.parent_run_id, TRIAL_TAG: event.trial}
            run = self._client.create_run(self.sweep.experiment_id, event.time, tags, run_name=event.title)
        self._run_ids[event.trial] = run.info.run_id
        self._tag_trial(run.info.run_id, event.params)
        # MLflow does not allow changing a parameter.
        missing = [Param(key, value) for key, value in event.params.items() if key not in run.data.params]
        if missing:
            self._client.log_batch(run.info.run_id, params=missing)

    def _tag_trial(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set the tags by which users search for trials, and the dataset."""
        from mlflow.entities import RunTag

        parent = self._parent_run()
        tags = {
            STATUS_TAG: "running",
            "sweep": parent.data.tags["sweep"],
            "stage": "final" if "seed" in params else "search",
            **{axis: params[axis] for axis in AXES if axis in params and axis != "lr"},
        }
        if parent.inputs.dataset_inputs:
            self._client.log_inputs(run_id, parent.inputs.dataset_inputs)
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def _log_epoch(self, event: EpochDone) -> None:
        from mlflow.entities import Metric

        run_id = self._run_id(event.trial)
        if event.trial not in self._epochs:
            self._epochs[event.trial] = self.sweep.find_logged_epochs(run_id)
        if event.epoch in self._epochs[event.trial]:
            return
        values = {"epoch": float(event.epoch), **event.metrics}
        metrics = [Metric(key, value, event.time, event.epoch) for key, value in values.items()]
        self._client.log_batch(run_id, metrics)
        self._epochs[event.trial].add(event.epoch)

    def _end_trial(self, event: TrialEnded) -> None:
        run_id = self._run_id(event.trial)
        for run in self.sweep.find_trial_runs(event.trial):
            if run.info.run_id == run_id:
                self._log_summary(run, event.best, event.time, {STATUS_TAG: event.status})
            else:
                self._client.delete_run(run.info.run_id)
        self._client.set_terminated(run_id, _RUN_STATUS.get(event.status, "FAILED"), end_time=event.time)

    def _register_champion(self, event: ChampionChosen) -> None:
        """Log checkpoint and split to the champion's run, and register its model."""
        run_id = self._run_id(event.trial)
        self._client.log_artifacts(run_id, str(self.run.best), "checkpoint")
        self._client.log_artifact(run_id, str(self.run.split), "split")
        self._client.set_tag(run_id, "champion", "true")
        self._client.set_tag(self.sweep.parent_run_id, CHAMPION_TAG, event.trial)
        limits = self.run.read_config().data.limits()
        version = register_champion(self.sweep.uri, run_id, self.run.best, event.model_name, limits)
        self.model_version = version.number

    def _log_test(self, event: ChampionTested) -> None:
        """Log the test report to the parent run, the champion's run and the registered version."""
        try:
            tested = EvaluationMetrics.load(self.run.test / METRICS_FILE)
        except EvaluationError as error:
            raise LineRejected(str(error)) from None
        metrics = {f"test_{key}": float(getattr(tested, key)) for key in _TEST_METRICS}
        for run in self._parent_and_champion_runs():
            self._client.log_artifacts(run.info.run_id, str(self.run.test), "test")
            self._log_summary(run, metrics, event.time, {})
            version = newest_version(self.sweep.uri, run.info.run_id)
            if version is not None:
                card = model_card(self.run, tested, version.uri)
                describe_version(self.sweep.uri, version, card, metrics, tested.split_sha256)
                self.model_version = version.number
                self.promotion = self._promote(version, event.promote)

    def _promote(self, version: ModelVersion, policy: str) -> str:
        result = promote_version(self.sweep.uri, version, policy)
        return result if result.startswith("champion") else f"{result}; to promote it: {manual_promotion(version)}"

    def _log_report(self) -> None:
        for run in self._parent_and_champion_runs():
            self._client.log_artifacts(run.info.run_id, str(self.run.report), "report")

    def _log_system_metrics(self, event: SystemMetricsSampled) -> None:
        from mlflow.entities import Metric

        # Steps are seconds since the parent run was created, so that a resumed sweep continues them.
        step = max(0, event.time - self._parent_run().info.start_time) // 1000
        metrics = [Metric(key, value, event.time, step) for key, value in event.metrics.items()]
        self._client.log_batch(self.sweep.parent_run_id, metrics)

    def _end_sweep(self, event: SweepEnded) -> None:
        parent = self.sweep.parent_run_id
        trials = self._client.search_runs(
            [self.sweep.experiment_id], f"tags.mlflow.parentRunId = '{parent}'", max_results=_MAX_TRIALS
        )
        if trials:
            self._client.set_tag(parent, NOTE_TAG, sweep_note(self.sweep.experiment_id, trials))
        if self.run.results.exists():
            self._client.log_artifact(parent, str(self.run.results))
        self._client.set_terminated(parent, event.status, end_time=event.time)

    def _run_id(self, trial: str) -> str:
        if trial not in self._run_ids:
            found = self.sweep.find_trial_runs(trial)
            if not found:
                raise LineRejected(f"trial {trial} has no run")
            self._run_ids[trial] = found[0].info.run_id
        return self._run_ids[trial]

    def _parent_run(self) -> Any:
        """Return the parent run as it was when it was first read."""
        self._parent = self._parent or self._client.get_run(self.sweep.parent_run_id)
        return self._parent

    def _parent_and_champion_runs(self) -> list[Any]:
        parent = self._client.get_run(self.sweep.parent_run_id)
        champion = parent.data.tags.get(CHAMPION_TAG)
        return [parent, *([self._client.get_run(self._run_id(champion))] if champion else [])]

    def _log_summary(self, run: Any, metrics: Mapping[str, float], when: int, tags: Mapping[str, str]) -> None:
        """Log metrics that have one value per run, unless the run has the same value already."""
        from mlflow.entities import Metric, RunTag

        new = [Metric(key, value, when, 0) for key, value in metrics.items() if run.data.metrics.get(key) != value]
        if new or tags:
            self._client.log_batch(run.info.run_id, new, tags=[RunTag(key, value) for key, value in tags.items()])
