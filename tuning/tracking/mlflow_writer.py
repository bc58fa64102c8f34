"""MLflow: a parent run a sweep, a child run a trial, the champion's model in the registry.

All of it is written by the sweep's own process, from its journal. Only files called `tracking*` know MLflow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.redact import redact_uri, restore_uri
from tuning.config.run_folder import RunFolder
from tuning.config.schema.space import AXES
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.events import (
    ChampionChosen,
    Entry,
    EpochDone,
    Journal,
    MachineSeen,
    Reported,
    SweepEnded,
    SweepOpened,
    Tested,
    TrialEnded,
    TrialStarted,
    read_entry,
)
from tuning.tracking.model_card import model_card
from tuning.tracking.outbox import Away, Refused, Sender, Spool
from tuning.tracking.registry import Version, describe_version, promote, promotion_by_hand, register, version_of
from tuning.tracking.server import (
    DATABASES,
    TrackingError,
    away_or_refused,
    database,
    mlflow_client,
    one_line,
    resolve_uri,
    silent,
)
from tuning.tracking.views import experiment_note, saved_view, sweep_note

TRIAL_TAG = "trial_id"
STATUS_TAG = "status"
CHAMPION_TAG = "champion_trial"

_NOTE = "mlflow.note.content"
"""A description, in Markdown."""
_TEST_FIGURES = ("accuracy", "macro_f1", "num_clips")

# Modules import in half a second without MLflow and in four with it: each function that needs it imports it.


@dataclass(frozen=True, slots=True)
class Tracking:
    """One sweep's place in MLflow; plain values, so that it survives pickling and a resume."""

    uri: str = field(repr=False)
    """May hold a password."""
    experiment_id: str
    parent_run_id: str

    def save(self, file: Path) -> None:
        """Write what a resumed sweep and `evaluate` need to find the runs again, without a password."""
        plain = asdict(self) | {"uri": redact_uri(self.uri)}
        file.write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Tracking:
        """Read what `save` wrote; a password comes from MLFLOW_TRACKING_URI."""
        plain = json.loads(file.read_text())
        return cls(**plain | {"uri": restore_uri(plain["uri"])})

    def trial_runs(self, trial_id: str) -> list[Any]:
        """A trial's child runs: one, unless the server had stopped while it was asked for it.

        It then made one for each time that it was asked; the one with the trial's epochs comes first.
        """
        found = mlflow_client(self.uri).search_runs(
            [self.experiment_id],
            f"tags.{TRIAL_TAG} = '{trial_id}' and tags.mlflow.parentRunId = '{self.parent_run_id}'",
        )
        return sorted(found, key=lambda run: run.data.metrics.get("epoch", 0), reverse=True)

    def logged_epochs(self, run_id: str) -> set[int]:
        """The epochs that the run has metrics of."""
        return {int(point.value) for point in mlflow_client(self.uri).get_metric_history(run_id, "epoch")}


class Writer:
    """Writes a journal's entries to MLflow; what is there already is not written again."""

    def __init__(self, tracking: Tracking, run: RunFolder) -> None:
        self.tracking, self.run = tracking, run
        self.registered = ""
        """The version of the champion's model, once it is registered."""
        self.promotion = ""
        """What became of that version, once it is tested."""
        self._parent: Any = None
        self._runs: dict[str, str] = {}
        self._epochs: dict[str, set[int]] = {}
        self._answers = False

    def write(self, line: str) -> None:
        """Write one line of the journal.

        Raises:
            Away: MLflow does not answer, or its database is locked or its disk full.
            Refused: MLflow never takes it; or it is no entry, or speaks of files that are gone.
        """
        try:
            entry = read_entry(line)
        except ValueError:
            raise Refused(f"a damaged line: {line[:80]!r}") from None
        with away_or_refused(self.tracking.uri):
            # A database that is down would be tried for minutes; a server that had stopped would do when it goes on
            # all that it was asked meanwhile, as often as it was asked.
            if not self._answers and (reason := silent(self.tracking.uri)):
                raise Away(reason)
            self._answers = False
            self._write(entry)
            self._answers = True

    def _write(self, entry: Entry) -> None:
        match entry:
            case SweepOpened():
                self._open_sweep()
            case TrialStarted():
                self._start_trial(entry)
            case EpochDone():
                self._log_epoch(entry)
            case TrialEnded():
                self._end_trial(entry)
            case ChampionChosen():
                self._register(entry)
            case Tested():
                self._log_test(entry)
            case Reported():
                for run in self._tested_runs():
                    self._client.log_artifacts(run.info.run_id, str(self.run.report), "report")
            case MachineSeen():
                self._log_machine(entry)
            case SweepEnded():
                self._end_sweep(entry)

    @property
    def _client(self) -> Any:
        return mlflow_client(self.tracking.uri)

    def _open_sweep(self) -> None:
        parent = self.tracking.parent_run_id
        self._client.update_run(parent, status="RUNNING")
        for file in (self.run.split, self.run.groups, self.run.defects):
            if file.exists():
                self._client.log_artifact(parent, str(file), "split")

    def _run(self, trial: str) -> str:
        if trial not in self._runs:
            found = self.tracking.trial_runs(trial)
            if not found:
                raise Refused(f"trial {trial} has no run")
            self._runs[trial] = found[0].info.run_id
        return self._runs[trial]

    def _start_trial(self, entry: TrialStarted) -> None:
        from mlflow.entities import Param

        found = self.tracking.trial_runs(entry.trial)
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {"mlflow.parentRunId": self.tracking.parent_run_id, TRIAL_TAG: entry.trial}
            run = self._client.create_run(self.tracking.experiment_id, entry.time, tags, run_name=entry.title)
        self._runs[entry.trial] = run.info.run_id
        self._describe_trial(run.info.run_id, entry.params)
        # Parameters are those of the trial's start, also if it took over others' since.
        missing = [Param(key, value) for key, value in entry.params.items() if key not in run.data.params]
        if missing:
            self._client.log_batch(run.info.run_id, params=missing)

    def _describe_trial(self, run_id: str, params: Mapping[str, str]) -> None:
        """What it is found by, and the clips that it is trained on."""
        from mlflow.entities import RunTag

        self._parent = self._parent or self._client.get_run(self.tracking.parent_run_id)
        tags = {
            STATUS_TAG: "running",
            "sweep": self._parent.data.tags["sweep"],
            "stage": "final" if "seed" in params else "search",
            **{axis: params[axis] for axis in AXES if axis in params and axis != "lr"},
        }
        datasets = self._parent.inputs.dataset_inputs
        if datasets:
            self._client.log_inputs(run_id, datasets)
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def _log_epoch(self, entry: EpochDone) -> None:
        from mlflow.entities import Metric

        run_id = self._run(entry.trial)
        if entry.trial not in self._epochs:
            self._epochs[entry.trial] = self.tracking.logged_epochs(run_id)
        if entry.epoch in self._epochs[entry.trial]:
            return
        points = {"epoch": float(entry.epoch), **entry.metrics}
        metrics = [Metric(key, value, entry.time, entry.epoch) for key, value in points.items()]
        self._client.log_batch(run_id, metrics)
        self._epochs[entry.trial].add(entry.epoch)

    def _end_trial(self, entry: TrialEnded) -> None:
        run_id = self._run(entry.trial)
        for run in self.tracking.trial_runs(entry.trial):
            if run.info.run_id == run_id:
                self._log_figures(run, entry.best, entry.time, {STATUS_TAG: entry.status})
            else:
                self._client.delete_run(run.info.run_id)
        self._client.set_terminated(run_id, _run_status(entry.status), end_time=entry.time)

    def _log_figures(self, run: Any, figures: Mapping[str, float], when: int, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        new = [Metric(key, value, when, 0) for key, value in figures.items() if run.data.metrics.get(key) != value]
        if new or tags:
            self._client.log_batch(run.info.run_id, new, tags=[RunTag(key, value) for key, value in tags.items()])

    def _register(self, entry: ChampionChosen) -> None:
        """Checkpoint, split and registered model into the champion's run."""
        client, run_id = self._client, self._run(entry.trial)
        client.log_artifacts(run_id, str(self.run.best), "checkpoint")
        client.log_artifact(run_id, str(self.run.split), "split")
        client.set_tag(run_id, "champion", "true")
        client.set_tag(self.tracking.parent_run_id, CHAMPION_TAG, entry.trial)
        self.registered = register(self.tracking.uri, run_id, self.run.best, entry.model_name).number

    def _log_test(self, entry: Tested) -> None:
        """The test report's files and figures, into the sweep's run, its champion's and the registered version."""
        found = json.loads((self.run.test / "metrics.json").read_text())
        figures = {f"test_{key}": float(found[key]) for key in _TEST_FIGURES}
        for run in self._tested_runs():
            self._client.log_artifacts(run.info.run_id, str(self.run.test), "test")
            self._log_figures(run, figures, entry.time, {})
            version = version_of(self.tracking.uri, run.info.run_id)
            if version is not None:
                card = model_card(self.run, version.address)
                describe_version(self.tracking.uri, version, card, figures, found["split_sha256"])
                self.registered = version.number
                self.promotion = self._promoted(version, entry.promote)

    def _promoted(self, version: Version, policy: str) -> str:
        told = promote(self.tracking.uri, version, policy)
        return told if told.startswith("champion") else f"{told}; to promote it: {promotion_by_hand(version)}"

    def _tested_runs(self) -> list[Any]:
        """The sweep's run and its champion's."""
        parent = self._client.get_run(self.tracking.parent_run_id)
        champion = parent.data.tags.get(CHAMPION_TAG)
        return [parent, *([self._client.get_run(self._run(champion))] if champion else [])]

    def _log_machine(self, entry: MachineSeen) -> None:
        from mlflow.entities import Metric

        # Steps are seconds since the run began, so that those of a resumed sweep go on.
        self._parent = self._parent or self._client.get_run(self.tracking.parent_run_id)
        step = max(0, entry.time - self._parent.info.start_time) // 1000
        metrics = [Metric(key, value, entry.time, step) for key, value in entry.metrics.items()]
        self._client.log_batch(self.tracking.parent_run_id, metrics)

    def _end_sweep(self, entry: SweepEnded) -> None:
        parent = self.tracking.parent_run_id
        trials = self._client.search_runs(
            [self.tracking.experiment_id], f"tags.mlflow.parentRunId = '{parent}'", max_results=5000
        )
        if trials:
            self._client.set_tag(parent, _NOTE, sweep_note(self.tracking.experiment_id, trials))
        if self.run.results.exists():
            self._client.log_artifact(parent, str(self.run.results))
        self._client.set_terminated(parent, entry.status, end_time=entry.time)


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a run tells MLflow what it does."""

    journal: Journal
    writer: Writer
    sender: Sender

    def send(self, patience: float) -> str:
        """Send what MLflow has not got yet, and wait so many seconds if it is away.

        Returns:
            What is left and why, in a line; empty if nothing is.
        """
        reason = self.sender.send_all(patience)
        if not reason:
            return ""
        file = self.journal.spool.file.name
        return f"{self.sender.left()} entries of {file} are not at {self.sender.receiver} yet ({reason})"

    def flush(self, patience: float) -> None:
        """Send pending entries as `send` does; print a note if any remain."""
        unsent = self.send(patience)
        if unsent:
            print(f"note: {unsent}", flush=True)


@contextmanager
def reporting(run: RunFolder) -> Iterator[Reporting]:
    """The run's journal and its way to MLflow, which this process has alone meanwhile.

    Raises:
        SpoolBusy: another process is at work on the run.
    """
    spool, tracking = Spool(run.outbox), Tracking.load(run.tracking)
    with spool.alone():
        writer = Writer(tracking, run)
        yield Reporting(Journal(spool), writer, Sender(spool, writer.write, f"MLflow at {redact_uri(tracking.uri)}"))


def start_sweep(name: str, config: SweepConfig, params: Mapping[str, Any], config_file: Path) -> Tracking:
    """Open the experiment and the sweep's parent run.

    Raises:
        TrackingError: the database or server refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    runs_dir = Path(config.runs_dir)
    uri = resolve_uri(config.tracking, runs_dir)
    try:
        client = mlflow_client(uri)
        experiment_id = _experiment(client, uri, config.tracking.experiment, runs_dir)
        run = client.create_run(experiment_id, run_name=name, tags={"sweep": name})
        for key, value in {**params, **_flat(config.model_dump(mode="json"))}.items():
            client.log_param(run.info.run_id, key, value)
        client.log_artifact(run.info.run_id, str(config_file))
        if "split_sha256" in params:
            client.log_inputs(run.info.run_id, [_dataset(Path(config.data.dir), params)])
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"MLflow at {redact_uri(uri)} refuses: {one_line(error, uri)}") from None
    return Tracking(uri, experiment_id, run.info.run_id)


def _experiment(client: Any, uri: str, name: str, runs_dir: Path) -> str:
    known = client.get_experiment_by_name(name)
    if known is not None:
        _describe_experiment(client, known.experiment_id, known.tags)
        return known.experiment_id
    # A server knows where its artifacts go; beside a bare database they would land in the current directory.
    local = database(uri) in DATABASES
    made = client.create_experiment(name, (runs_dir / "mlflow-artifacts").as_uri() if local else None)
    # MLflow's pages then open on runs and metrics, not on traces of language models.
    client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
    _describe_experiment(client, made, {})
    return made


def _describe_experiment(client: Any, experiment_id: str, tags: Mapping[str, str]) -> None:
    """A saved view of its trials and a description; what people have changed of these stays."""
    key, view = saved_view(int(time.time() * 1000))
    for name, value in ((key, view), (_NOTE, experiment_note(experiment_id))):
        if name not in tags:
            client.set_experiment_tag(experiment_id, name, value)


def _dataset(folder: Path, params: Mapping[str, Any]) -> Any:
    """The clips as an MLflow dataset: known by their split, described by their numbers."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    counts = {key: params[key] for key in params if key == "classes" or key.endswith("_clips")}
    dataset = Dataset(
        name=folder.name or str(folder),
        # MLflow takes 36 characters; as many as elsewhere a split is named by.
        digest=params["split_sha256"][:12],
        source_type="local",
        source=json.dumps({"uri": folder.absolute().as_uri()}),
        profile=json.dumps({**counts, "split_sha256": params["split_sha256"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _run_status(trial_status: str) -> str:
    return {"done": "FINISHED", "stopped": "FINISHED", "unfinished": "KILLED"}.get(trial_status, "FAILED")
