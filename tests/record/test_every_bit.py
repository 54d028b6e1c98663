"""Every cut and every flipped bit of a small record and of its checkpoints: neither verifier ever says "complete"."""

import contextlib
import io

import pytest

from gpu_nx47.audit.verify import verify
from gpu_nx47.journal import CHECKPOINT_NAME, RECORD_NAME, verify_record

pytestmark = pytest.mark.long

VERIFIERS = {
    "ours": lambda folder: verify(folder).code,
    "stand-alone": lambda folder: verify_record.check(folder, [], None)[0],
}


def cuts(data):
    """The file cut off at each byte, and with each byte taken out."""
    for at in range(len(data)):
        yield data[:at]
        yield data[:at] + data[at + 1 :]


def flips(data):
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@pytest.mark.parametrize("name", [RECORD_NAME, CHECKPOINT_NAME])
@pytest.mark.parametrize("mutate", [cuts, flips], ids=["cut", "flip"])
@pytest.mark.parametrize("verifier", list(VERIFIERS))
def test_no_byte_can_be_cut_and_no_bit_flipped(writes, tmp_path, name, mutate, verifier, capsys):
    made = writes(tmp_path / "out", tiles=16)
    path = made.folder / name
    data = path.read_bytes()
    assert len(made.log.read_bytes()) > 5000
    counted = dict.fromkeys((1, 2, 3), 0)
    judge = VERIFIERS[verifier]
    with contextlib.redirect_stdout(io.StringIO()):
        assert judge(made.folder) == 0
        for changed in mutate(data):
            path.write_bytes(changed)
            code = judge(made.folder)
            assert code in counted, changed
            counted[code] += 1
    with capsys.disabled():
        print(f"\n{verifier}, {mutate.__name__} of {len(data)} bytes of {name}: {sum(counted.values())}, {counted}")
