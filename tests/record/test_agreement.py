"""Over random combinations of forgeries both verifiers come to one code, and none but the signed record is complete."""

import random

import pytest

from gpu_nx47.audit.verify import verify
from gpu_nx47.journal import verify_record

VALUES = [None, 7, "x", {}, [1]]
KEYS = ["seed", "root", "size", "public_key", "identity_key", "digests", "reason", "origin"]
EVENTS = ["BOOT", "RECOVERED", "EXEC_COMPLETE", "STEP"]


def drop_line(made, draw):
    lines = made.lines()
    del lines[draw.randrange(len(lines))]
    made.put(lines)


def repeat_line(made, draw):
    lines = made.lines()
    lines.insert(draw.randrange(len(lines)), draw.choice(lines))
    made.put(lines)


def change_value(made, draw):
    events = made.events()
    draw.choice(events)[2][draw.choice(KEYS)] = draw.choice(VALUES)
    made.rechain(events)


def put_event_in(made, draw):
    events = made.events()
    old, _, data = draw.choice(events)
    events.insert(draw.randrange(len(events) + 1), (old, draw.choice(EVENTS), dict(data)))
    made.rechain(events)


def drop_note(made, draw):
    notes = made.each_note()
    del notes[draw.randrange(len(notes))]
    made.notes.write_text("".join(notes))


def repeat_note(made, draw):
    notes = made.each_note()
    notes.insert(draw.randrange(len(notes)), draw.choice(notes))
    made.notes.write_text("".join(notes))


def change_byte(made, draw):
    path = draw.choice([made.log, made.notes])
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)


def cut(made, draw):
    path = draw.choice([made.log, made.notes])
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


FORGERIES = [drop_line, repeat_line, change_value, put_event_in, drop_note, repeat_note, change_byte, cut]


def forge(made, draw):
    for act in draw.choices(FORGERIES, k=draw.randint(1, 3)):
        try:
            act(made, draw)
        except (ValueError, KeyError, IndexError):  # the forgery before left nothing for this one to work on
            return


@pytest.mark.parametrize("seeds", [range(150), pytest.param(range(150, 3000), marks=pytest.mark.long)], ids=len)
def test_both_verifiers_come_to_one_code(made, seeds, capsys):
    log, notes = made.log.read_bytes(), made.notes.read_bytes()
    kept, key = made.keep(), made.key
    codes = set()
    for seed in seeds:
        made.log.write_bytes(log)
        made.notes.write_bytes(notes)
        draw = random.Random(seed)
        forge(made, draw)
        expected, held = draw.choice([[], [key]]), draw.choice([None, kept])
        found = verify(made.folder, expected, held)
        theirs, said = verify_record.check(made.folder, expected, held)
        by_view = found.where is not None and found.where.endswith(".json")  # which the other does not look at
        assert theirs == found.code or by_view, (seed, found, said)
        assert found.code != 0 or made.log.read_bytes() == log, seed
        codes.add(found.code)
        capsys.readouterr()
    assert codes >= {0, 1, 2}
