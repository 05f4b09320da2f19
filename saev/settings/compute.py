"""Settings of the machine. They are in no digest: they can't change a result."""

from typing import Literal

from pydantic import Field

from saev.settings.base import Settings


class ComputeSettings(Settings):
    """How to compute, not what."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where towers and dictionaries run; auto takes a GPU if there is one."
    )
    threads: int = Field(
        0,
        ge=0,
        description="Threads a job asks for; 0 takes all the cores that Snakemake was given.",
    )
    workers: int = Field(
        2, ge=0, description="Threads that decode pictures ahead of the tower; 0 decodes in line."
    )
    data_in_memory: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether a training loads its vectors at the start; never reads them from files while "
        "it trains, auto does so if they take more than half of the free memory.",
    )
    wandb: Literal["offline", "online", "disabled"] = Field(
        "offline",
        description="Mirror of each training in Weights & Biases: kept in `wandb/` until it is synced, "
        "sent at once, or none.",
    )
    wandb_project: str = Field("saev", min_length=1, description="Project of wandb.")
