"""Work is done once: a job reuses a result that is complete and was made from the same things.

Snakemake deletes a job's declared outputs before it starts the job, and again if the job fails. So
rules declare only a stamp, ``.<job>.done`` in the directory of the result, and Snakemake never
deletes a result. A job replaces the old result by the complete new one at its end. Beside the stamp
lies ``.<job>.made``, which says what the result was made from. A job that finds its own key there
has nothing to do. This happens, for example, when a job finished after Snakemake was killed, or
when this one waited for it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from saev.core import logs
from saev.core.files import canonical_json, sha256_bytes, write_bytes, write_json
from saev.core.locks import Lock
from saev.core.made import DONE, MADE, read_made, rule_of
from saev.core.meta import altered_files, matches_sha256
from saev.core.plan_file import plan_file, read_plan
from saev.core.state import STATE

ACCEPTED = "accepted"
"""Key of a record under which it says that other code would have made the same."""


def stamp_name(rule: str, number: str = "") -> str:
    """Name of the stamp of a rule's job. ``number`` is that of its shard or part, if any."""
    return f".{rule}-{number}{DONE}" if number else f".{rule}{DONE}"


@contextmanager
def alone(stamp: str | None) -> Iterator[None]:
    """Wait until no other job makes the result with this stamp, and keep others from it.

    Without a stamp, for a job run by hand, it waits for nothing.
    """
    if stamp is None:
        yield
        return
    folder, name = Path(stamp).parent, Path(stamp).stem.removeprefix(".")
    lock = Lock(folder / STATE / f"{name}.lock", f"the result of {name} in {folder}")
    lock.acquire(wait=True, on_wait=logs.say)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # a state may be there
            lock.path.parent.rmdir()


class Once:
    """The work of one job.

    Args:
        stamp: the job's output in Snakemake. None for a job run by hand, which always does its
            work.
        folder: directory of the result.
        key: everything that the result depends on, as JSON values.
    """

    def __init__(self, stamp: str | Path | None, folder: str | Path, *key: Any) -> None:
        self.stamp, self.folder = Path(stamp) if stamp else None, Path(folder)
        self._parts = key
        self.key = sha256_bytes(canonical_json(key).encode())

    def there(self, matches: Callable[[Path, str], bool] = matches_sha256) -> bool:
        """Whether the result is complete, was made from the same things, and wasn't forced to
        rerun.

        Args:
            matches: tells whether a file has a SHA-256.
        """
        if self.stamp is None:
            return False
        made = self._made()
        if not self.is_of(made) or (_forced(self.stamp) and made["plan"] != _plan()):
            return False
        return not altered_files(self.folder, made["files"], deep=True, matches=matches)

    def is_of(self, made: dict[str, Any]) -> bool:
        """Whether a record is of a result from these things, or by code that was accepted for
        this."""
        accepted = made.get(ACCEPTED)
        if accepted:
            before = _with_code(self._parts, accepted["code"], accepted["instead_of"])
            if made.get("key") == sha256_bytes(canonical_json(before).encode()):
                return True
        return made.get("key") == self.key

    def take_up(self) -> None:
        """Reuse the existing result: say so, and tell Snakemake that the job is done."""
        logs.say(f"{self.folder} is complete: nothing to do")
        self._stamp(self._made()["files"])

    def finish(
        self,
        files: Iterable[dict[str, Any]],
        code: str | None = None,
        inputs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Record what was made, and tell Snakemake that the job is done.

        Args:
            files: one entry per file, as `file_entry` makes it. A file whose content isn't a result
                (`run.json`) has only its name.
            code: digest of the code, if no `run.json` says it.
            inputs: SHA-256 of what each input's stage wrote last, if no `meta.json` says it.
        """
        entries = sorted(files, key=lambda entry: entry["name"])
        if self.stamp is None:
            return forget(self.folder, {entry["name"] for entry in entries})
        self.stamp.unlink(missing_ok=True)
        made = {"key": self.key, "plan": _plan(), "files": entries}
        told = {} if code is None else {"code": code, "inputs": dict(inputs)}
        write_json(self.stamp.with_suffix(MADE), {**made, **told})
        self._stamp(entries)

    def _made(self) -> dict[str, Any]:
        assert self.stamp is not None
        return read_made(self.stamp.with_suffix(MADE))

    def _stamp(self, entries: list[dict[str, Any]]) -> None:
        # Equal results have equal stamps, so Snakemake sees that nothing has changed.
        assert self.stamp is not None
        digest = sha256_bytes(canonical_json(entries).encode())
        write_bytes(self.stamp, f"{digest}\n".encode())


def accept(record: Path, code: str, instead_of: str) -> None:
    """Note in the record of a job that other code would have made the same.

    Args:
        record: the `.made` of a job.
        code: digest of the code that counts from now on.
        instead_of: digest of the code that the job ran with.
    """
    made = read_made(record)
    if made:
        first = made.get(ACCEPTED, {}).get("instead_of", instead_of)
        write_json(record, {**made, ACCEPTED: {"code": code, "instead_of": first}})


def _with_code(parts: Any, code: str, instead: str) -> Any:
    """The parts of a key with another digest of code: their own item, or one of a spec."""
    if isinstance(parts, (tuple, list)):
        return [_with_code(part, code, instead) for part in parts]
    return instead if parts == code else parts


def forget(folder: Path, names: set[str]) -> None:
    """Remove records and stamps of jobs that made files of these names, which are now replaced."""
    for path in folder.glob(f".*{MADE}"):
        if names & {entry["name"] for entry in read_made(path).get("files", ())}:
            path.with_suffix(DONE).unlink(missing_ok=True)
            path.unlink()


def _plan() -> str | None:
    path = plan_file()
    return path.name if path else None


def _forced(stamp: Path) -> bool:
    """Whether this run of the workflow was told to rerun the job (`--forcerun`, `--forceall`)."""
    return rule_of(stamp) in read_plan().get("forced", {}).get("rules", ())
