"""What the workflow remembers between two starts is believed only as it was written."""

from saev.core.files import to_json, write_bytes
from saev.workflow.hashes import Hashes
from saev.workflow.remembered import remember, remembered


def test_no_flipped_bit_of_what_was_remembered_is_believed(tmp_path):
    path, known = tmp_path / "hashes.json", {"code: stage train": "0f3a", "a\0001": "77"}
    remember(path, known)
    assert remembered(path) == known
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert remembered(path) in ({}, known), bit


def test_a_digest_that_was_damaged_is_taken_anew(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    place = tmp_path / "hashes.json"
    first = Hashes(place)
    right = first.of(str(tmp_path / "weights.pt"))
    first.save()
    place.write_bytes(place.read_bytes().replace(right[:8].encode(), b"00000000"))
    assert Hashes(place).of(str(tmp_path / "weights.pt")) == right


def test_files_of_an_older_saev_and_missing_ones_are_empty(tmp_path):
    assert remembered(tmp_path / "none.json") == {}
    for value in ({"a": "b"}, [1], {"known": 3, "sha256": ""}):
        write_bytes(tmp_path / "old.json", to_json(value))
        assert remembered(tmp_path / "old.json") == {}
