"""Settings of the machine. No digest includes them, because they can't change a result."""

from typing import Annotated, Literal

from pydantic import Field

from saev.settings.component import Settings


class ComputeSettings(Settings):
    """How to compute, not what to compute. These settings change no result."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where towers and dictionaries run. `auto` uses a GPU if there is one. Each "
        "job takes a GPU of its own, and waits until one is free. On a cluster, jobs ask for GPUs "
        "if this is `cuda`, or if it is `auto` and the profile's default resources name one (`gpu: "
        "1`).",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of each heavy job. 0 means all the cores that you gave Snakemake (for "
        "jobs that use a GPU, divided by the number of GPUs). On a cluster, 0 means "
        "`cluster_threads`.",
    )
    cluster_threads: int = Field(
        8,
        ge=1,
        le=1024,
        description="Cores that each heavy job asks a cluster for, if `threads` is 0. It doesn't "
        "matter how many cores the machine has on which you start Snakemake.",
    )
    local_images: int = Field(
        10_000,
        ge=0,
        description="On a cluster, short jobs (listing, labels, sealing, comparing, the gallery) "
        "run where you start Snakemake, unless a data set has more images than this. 0 submits "
        "them all.",
    )
    workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = Field(
        "auto",
        description="Threads that decode images ahead of the tower. `auto` means as many as the "
        "job has threads. 0 decodes in the main thread.",
    )
    data_in_memory: Literal["auto", "always", "never"] = Field(
        "auto",
        description="`always` loads all training vectors into memory at the start. `never` reads "
        "them from files during training. `auto` loads them if they need at most half of the free "
        "memory, or if there are at most 524,288 vectors.",
    )
    state_seconds: float = Field(
        20.0,
        ge=0,
        description="Seconds between two saved states of a training. A stopped training resumes "
        "from the last one. 0 saves after every step. If saving takes more than a second, this "
        "number is multiplied by the seconds that it takes.",
    )
    keep_state_after: float = Field(
        600.0,
        ge=0,
        description="A training that takes longer than this many seconds keeps its last saved "
        "state in `.last/` beside the checkpoint. The state is about three times as large as the "
        "checkpoint. After a change of code, `saev accept` makes the last steps again from there. "
        "You can remove it at any time.",
    )
    wandb: Literal["disabled", "offline", "online"] = Field(
        "disabled",
        description="Copy of each training's curve in Weights & Biases. `disabled` makes none, "
        "`offline` keeps it in `wandb/` until you sync it, `online` sends it at once.",
    )
    wandb_project: str = Field(
        "saev", min_length=1, description="Project name in Weights & Biases."
    )
