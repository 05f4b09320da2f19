"""Activations are hashed once on a host, and nothing that has changed since is vouched for."""

import hashlib
import os
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from analysed import Case, vectors
from synthetic import write_activations
from trained import TOPK, run

from saev.activations import verified
from saev.activations.artifact import Activations
from saev.activations.verified import Verified
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.tools.check import check

SHARD = "layer-01.cls/shard-00001.npy"


@pytest.fixture
def hashed(monkeypatch):
    """How often each file was hashed, by its last two names."""
    counts, digest = Counter(), hashlib.file_digest

    def counting(file, algorithm):
        counts["/".join(Path(file.name).parts[-2:])] += 1
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    return counts


@pytest.fixture
def old_enough(monkeypatch):
    """Files are remembered as soon as the clock has ticked."""
    monkeypatch.setattr(verified, "MARGIN_NS", 0)


@pytest.fixture
def vit(tmp_path):
    folder = tmp_path / "results/pets-11111111/tiny-22222222"
    write_activations(folder, {"layer-01.cls": vectors(600)})
    time.sleep(0.05)
    return folder


def read(vit: Path) -> None:
    """Verify all of the activations, as a job does."""
    reader = Activations(vit, verify="sha256")
    reader.read(reader.streams["layer-01.cls"], 0, 600)


def memory(vit: Path) -> Path:
    return vit / ".verified" / f"{socket.gethostname()}.jsonl"


def flip(path: Path) -> None:
    """Change a byte in place; size and modification time stay."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def vouch(vit: Path, name: str, sha256: str) -> None:
    """Make the memory say that a file, as it is now, has a SHA-256."""
    held = Verified(vit)
    held._remember(held._line(vit / name, (vit / name).stat(), sha256))


@pytest.mark.usefixtures("old_enough")
def test_two_trainings_and_an_analysis_hash_a_shard_once(tmp_path, hashed):
    case = Case(tmp_path, vectors(600), {})
    time.sleep(0.05)
    hashed.clear()
    for name in ("one", "two"):
        run({**TOPK, "epochs": 1.0}, case.activations, case.activations / name)
    case.analyse()
    # The smaller files were hashed, and remembered, when the case was made.
    counts = {name: n for name, n in hashed.items() if name.startswith(("layer-01.cls/", "rows/"))}
    assert SHARD in counts
    assert len(counts) == 6
    assert set(counts.values()) == {1}


@pytest.mark.usefixtures("old_enough")
def test_a_byte_changed_in_place_with_size_and_times_kept_is_found(vit, hashed):
    read(vit)
    read(vit)
    assert hashed[SHARD] == 1
    flip(vit / SHARD)
    with pytest.raises(UserError, match=r"shard-00001\.npy has another SHA-256"):
        read(vit)


@pytest.mark.usefixtures("old_enough")
def test_a_file_put_in_the_place_of_one_that_was_verified_is_hashed(vit, hashed):
    read(vit)
    other = (vit / SHARD).with_name("other.npy")
    other.write_bytes((vit / SHARD).read_bytes())
    other.replace(vit / SHARD)
    read(vit)
    assert hashed[SHARD] == 2


def test_a_file_that_changed_just_before_is_not_remembered(vit, hashed, monkeypatch):
    # A change within the same tick of the clock would leave the same times.
    read(vit)
    assert memory(vit).read_bytes() == b""
    monkeypatch.setattr(verified, "MARGIN_NS", 0)
    read(vit)
    read(vit)
    assert hashed[SHARD] == 2
    assert len(memory(vit).read_bytes().splitlines()) == 8


@pytest.mark.usefixtures("old_enough")
def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(vit, hashed, monkeypatch):
    counting = hashlib.file_digest

    def changing(file, algorithm):
        found = counting(file, algorithm)
        os.utime(file.name)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", changing)
        read(vit)
    assert memory(vit).read_bytes() == b""


@pytest.mark.usefixtures("old_enough")
def test_the_memory_of_another_host_is_not_used(vit, hashed, monkeypatch):
    read(vit)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    read(vit)
    read(vit)
    assert hashed[SHARD] == 2
    assert memory(vit).name == "elsewhere.jsonl"


@pytest.mark.usefixtures("old_enough")
def test_a_memory_that_is_torn_or_altered_vouches_for_nothing(vit, hashed):
    read(vit)
    whole = memory(vit).read_bytes()
    for n, spoilt in enumerate(
        (
            whole.replace(b'"inode":', b'"inode":1'),
            whole.replace(b'"sha256":"', b'"sha256":"0'),
            whole.replace(b'"}\n', b'"\n'),
            b"\0" * len(whole),
            b"\xff[]\n{}",
        ),
        2,
    ):
        memory(vit).write_bytes(spoilt)
        read(vit)
        assert hashed[SHARD] == n
        memory(vit).write_bytes(whole)
        read(vit)
        assert hashed[SHARD] == n


@pytest.mark.usefixtures("old_enough")
def test_activations_are_verified_where_the_memory_cannot_be_written(vit, hashed):
    (vit / ".verified").write_text("no folder")
    read(vit)
    read(vit)
    assert hashed[SHARD] == 2
    flip(vit / SHARD)
    with pytest.raises(UserError, match="another SHA-256"):
        read(vit)


def test_check_deep_hashes_whatever_the_memory_says(vit):
    read(vit)
    recorded = sha256_file(vit / SHARD)
    flip(vit / SHARD)
    vouch(vit, SHARD, recorded)
    read(vit)  # the memory is believed here
    results = vit.parent.parent
    texts = [finding.text for finding in check(results, deep=True)[0]]
    assert f"{vit / SHARD} has another SHA-256 than when it was written" in texts
