"""Mirrors `train.jsonl` to Weights & Biases.

The files are what counts: no fault here costs a result.
"""

import sys
import threading
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from saev.core import logs

FOLDER = "wandb"
"""Folder beside `results` where runs are kept until they are synced."""
IDLE = 1000
"""Largest silence in the histogram, in thousands of vectors."""


class Sink:
    """A run of wandb. After the first fault, it does nothing.

    Args:
        mode: ``offline``, ``online`` or ``disabled``; project: its name.
        run_id: the same for the same work, so that a resumed training continues the same run.
        name: what the run is called; config: settings and lineage.
        patience: how many seconds to wait for a connection, and for the last upload.
    """

    def __init__(
        self,
        mode: str,
        project: str,
        run_id: str,
        name: str,
        config: dict[str, Any],
        patience: float = 60.0,
    ) -> None:
        self._run: Any = None
        self._patience = patience
        given = {"project": project, "id": run_id, "name": name, "config": config}
        if mode == "online":
            self._guarded(
                "start online", lambda: self._start("online", given), "keeping it offline"
            )
        if mode != "disabled" and self._run is None:
            self._guarded("start", lambda: self._start_offline(mode, given))

    def _start_offline(self, wanted: str, given: dict[str, Any]) -> None:
        if wanted == "online":
            import wandb

            wandb.teardown()  # otherwise its service keeps the run that didn't start
        self._start("offline", given)

    def _start(self, mode: Literal["online", "offline"], given: dict[str, Any]) -> None:
        import wandb

        Path(FOLDER).mkdir(exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=self._patience,
            disable_git=True,
            disable_code=True,
        )
        # The service that writes may run in another folder: give it an absolute path.
        where = str(Path.cwd())
        self._run = wandb.init(mode=mode, dir=where, resume="allow", settings=settings, **given)

    def log(self, line: dict[str, Any], silent: Tensor | None) -> None:
        """Mirror a line of `train.jsonl`.

        Args:
            line: figures by name, with ``step``. Null figures are left out.
            silent: (n,) int64, vectors since each latent fired. Evaluations show it as a histogram.
                None if the training is over.
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
        """Add the plot of the curves and close the run. Waits a limited time for uploads."""
        run, self._run = self._run, None
        if run is None:
            return

        def close() -> None:
            import wandb

            run.log({"curves": wandb.Image(str(curves))})
            run.finish()

        thread = threading.Thread(target=self._guarded, args=("finish", close), daemon=True)
        thread.start()
        thread.join(self._patience)
        if thread.is_alive():
            waited = f"{self._patience:.0f} s"
            logs.say(f"warning: wandb didn't finish in {waited}: left alone. {_later()}")

    def _guarded(self, what: str, action: Any, then: str = "going on without") -> None:
        try:
            action()
        except Exception as error:
            # A service, a full disk or a broken installation may raise anything. It is only a
            # mirror.
            text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            logs.say(f"warning: wandb can't {what} ({text}): {then}. {_later()}")
            self._run = None


def _later() -> str:
    sync = f"{Path(sys.executable).parent}/wandb sync"
    return f"All figures are in train.jsonl. To upload runs kept offline, use {sync}"
