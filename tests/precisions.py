"""Programs that have set PyTorch's switches of precision in every way. Run by `test_good_guest.py`.

Prints a JSON list of what is wrong: TF32 is allowed where it must not be, an older switch can't be
read any more, or a program continues differently than it would without saev.
"""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from saev.activations.towers.precision import computing, exact_float32

BACKENDS: Any = torch.backends
SWITCHES = {
    "all": BACKENDS,
    "cuda": BACKENDS.cudnn,
    "products": BACKENDS.cuda.matmul,
    "convolutions": BACKENDS.cudnn.conv,
    "recurrent": BACKENDS.cudnn.rnn,
    "products on CPUs": BACKENDS.mkldnn.matmul,
}


def new(name: str, value: str) -> Callable[[], None]:
    return lambda: setattr(SWITCHES[name], "fp32_precision", value)


PROGRAMS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "highest": lambda: torch.set_float32_matmul_precision("highest"),
    "allowed": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "forbidden": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "high, and all": lambda: (PROGRAMS["high"](), PROGRAMS["all tf32"]()),  # type: ignore[func-returns-value]
}
PROGRAMS |= {
    f"{name} {value}": new(name, value)
    for name in ("all", "cuda", "products", "convolutions")
    for value in ("tf32", "ieee", "none")
}


def said() -> dict[str, str]:
    """What each switch answers; the older ones raise where the newer contradict them."""
    asked: dict[str, Callable[[], Any]] = {
        "older products": lambda: BACKENDS.cuda.matmul.allow_tf32,
        "older convolutions": lambda: BACKENDS.cudnn.allow_tf32,
        "older precision": torch.get_float32_matmul_precision,
    }
    found = {name: switch.fp32_precision for name, switch in SWITCHES.items()}
    for name, ask in asked.items():
        try:
            found[name] = str(ask())
        except RuntimeError:
            found[name] = "raises"
    return found


def apart(work: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The result of ``work`` in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as result:
        found = json.loads(result.read())
    os.waitpid(child, 0)
    return found


def nested() -> ExitStack:
    held = ExitStack()
    for _ in range(2):
        held.enter_context(exact_float32(torch.device("cuda")))
    return held


def rounded() -> ExitStack:
    held = ExitStack()
    for _ in range(2):
        held.enter_context(computing(torch.device("cuda"), "tf32"))
    return held


def after(*steps: Callable[[], Any]) -> dict[str, str]:
    return apart(lambda: ([step() for step in steps], said())[1])


if __name__ == "__main__":
    wrong = []
    for name, program in PROGRAMS.items():
        inside, outside = after(program, nested), after(program)
        if "tf32" in (inside["products"], inside["convolutions"]):
            wrong.append(f"{name}: TF32 is allowed: {inside}")
        mixed = name == "high, and all"
        fast = after(program, rounded)
        if {fast["products"], fast["convolutions"]} != {"tf32"}:
            wrong.append(f"{name}: TF32 isn't allowed where it was asked for: {fast}")
        if inside["older products"] == "raises" != outside["older products"] and not mixed:
            wrong.append(f"{name}: the older switch of products raises")
        for later, step in PROGRAMS.items():
            use = rounded if later == name else nested
            left, alone = after(program, lambda use=use: use().close(), step), after(program, step)
            if left != alone:
                wrong.append(f"{name}, then {later}: {left}, not {alone}")
    print(json.dumps(wrong))
