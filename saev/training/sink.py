"""Weights & Biases as a mirror of `train.jsonl`: files are the truth, and no fault here costs a result."""

import sys
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from saev import logs

FOLDER = "wandb"
"""Where runs are kept until they are synced, beside `results`."""
PATIENCE = 60.0
"""Seconds to wait for a connection, and for the last upload."""
IDLE = 1000
"""Silences, in vectors, are shown up to so many thousands."""


class Sink:
    """A run of wandb, or nothing once anything went wrong.

    Args:
        mode: ``offline``, ``online`` or ``disabled``; project: its name.
        run_id: the same for the same work, so that a resumed training goes on in the same run.
        name: what the run is called; config: settings and lineage.
    """

    def __init__(
        self, mode: str, project: str, run_id: str, name: str, config: dict[str, Any]
    ) -> None:
        self._run: Any = None
        given = (project, run_id, name, config)
        if mode == "online":
            self._guarded(
                "start online", lambda: self._start("online", *given), "keeping it offline"
            )
        if mode != "disabled" and self._run is None:
            self._guarded("start", lambda: self._start_offline(mode, *given))

    def _start_offline(self, wanted: str, *given: Any) -> None:
        if wanted == "online":
            import wandb

            wandb.teardown()  # its service still holds the run that didn't start
        self._start("offline", *given)

    def _start(
        self, mode: Any, project: str, run_id: str, name: str, config: dict[str, Any]
    ) -> None:
        import wandb

        Path(FOLDER).mkdir(exist_ok=True)
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=PATIENCE, disable_git=True, disable_code=True
        )
        self._run = wandb.init(
            mode=mode,
            dir=str(Path.cwd()),  # the service that writes may run elsewhere
            project=project,
            id=run_id,
            resume="allow",
            name=name,
            config=config,
            settings=settings,
        )

    def log(self, line: dict[str, Any], silent: Tensor | None) -> None:
        """Mirror a line of `train.jsonl`.

        Args:
            line: figures by name, with ``step``; null ones are left out.
            silent: (n,) int64, vectors since each latent fired; shown as a histogram with evaluations;
                None of a training that is over.
        """
        if self._run is None:
            return

        def write() -> None:
            import wandb

            values = {key: value for key, value in line.items() if value is not None}
            if silent is not None and any(key.startswith("eval_") for key in values):
                thousands = (silent.double() / 1000).clamp_max(IDLE).tolist()
                values["thousands_of_vectors_since_fired"] = wandb.Histogram(thousands)
            self._run.log(values, step=line["step"])

        self._guarded("write", write)

    def finish(self, curves: Path) -> None:
        """Add the picture of the curves and close the run, waiting a bounded time for uploads."""
        run, self._run = self._run, None
        if run is None:
            return

        def close() -> None:
            import wandb

            run.log({"curves": wandb.Image(str(curves))})
            run.finish()

        thread = threading.Thread(target=self._guarded, args=("finish", close), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            logs.say(f"warning: wandb didn't finish in {PATIENCE:.0f} s: left alone. {_later()}")

    def _guarded(self, what: str, action: Any, then: str = "going on without") -> None:
        try:
            action()
        except Exception as error:
            # Whatever a service, a full disk or a broken installation brings: it is only a mirror.
            text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            logs.say(f"warning: wandb can't {what} ({text}): {then}. {_later()}")
            self._run = None


def _later() -> str:
    return f"All figures are in train.jsonl. Runs kept offline: {Path(sys.executable).parent}/wandb sync"
