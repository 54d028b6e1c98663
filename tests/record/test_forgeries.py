"""Each forgery gets its documented code, and is named by line, checkpoint or output, by both verifiers."""

import json

import pytest

from gpu_nx47.audit.verify import verify
from gpu_nx47.journal import LOGS_NAME, MEMORY_NAME, METADATA_NAME, ROADMAP_NAME
from gpu_nx47.journal.merkle import GrowingTree, leaf_hash

COMPLETE, TAMPERED, INCOMPLETE, CANNOT = 0, 1, 2, 3
VIEWS = [LOGS_NAME, MEMORY_NAME, METADATA_NAME, ROADMAP_NAME]


def edit_line(made):
    lines = made.lines()
    lines[4] = lines[4].replace(b'"done":1', b'"done":9')
    made.put(lines)


def edit_stats_and_chain_anew(made):
    """What the old log could not bear: change GLOBAL_STATS, then recompute every hash."""
    made.rechain(
        (old, name, {**data, "pixels_anchor_detected": 10**6} if name == "GLOBAL_STATS" else data)
        for old, name, data in made.events()
    )


def edit_last(made):
    lines = made.lines()
    lines[-1] = lines[-1].replace(b'"exit_code":0', b'"exit_code":3')
    made.put(lines)


def edit_first(made):
    lines = made.lines()
    lines[0] = lines[0].replace(b'"seed":47', b'"seed":48')
    made.put(lines)


def delete(made):
    made.put(made.lines()[:4] + made.lines()[5:])


def delete_and_chain_anew(made):
    made.rechain(made.events()[:4] + made.events()[5:])


def delete_last(made):
    made.put(made.lines()[:-1])


def swap(made):
    lines = made.lines()
    lines[4], lines[5] = lines[5], lines[4]
    made.put(lines)


def insert(made):
    made.put([*made.lines()[:5], made.lines()[4], *made.lines()[5:]])


def insert_and_chain_anew(made):
    made.rechain([*made.events()[:5], made.events()[4], *made.events()[5:]])


def carriage_returns(made):
    made.put([line.replace(b"\n", b"\r\n") for line in made.lines()])


def a_carriage_return(made):
    lines = made.lines()
    lines[6] = lines[6].replace(b"\n", b"\r\n")
    made.put(lines)


def truncate_log(made):
    made.put(made.lines()[:6])


def truncate_in_a_line(made):
    made.log.write_bytes(made.log.read_bytes()[:-40])


def empty_log(made):
    made.put([])


def replay_prefix(made):
    """The beginning once more behind the end."""
    made.put(made.lines() + made.lines()[:3])


def append_after_the_end(made):
    made.rechain([*made.events(), made.events()[3]])


def recover_after_the_end(made):
    """As if a finished run had been gone on with."""
    tree = GrowingTree()
    for line in made.lines():
        tree.append(leaf_hash(line[:-1]))
    data = {"size": tree.size, "root": tree.root().hex(), "public_key": made.key}
    made.rechain([*made.events(), (made.fields(), "RECOVERED", data)])


def edit_zip(made):
    (made.folder / "submission.zip").write_bytes(b"Zip of masks")


def edit_picture(made):
    (made.folder / "overlays_v122" / "a_z0001.png").write_bytes(b"another")


def edit_verifier(made):
    (made.folder / "verify_record.py").write_text("print('complete')")


def edit_note_root(made):
    notes = made.each_note()
    lines = notes[1].split("\n")
    lines[2] = "A" * 43 + "="
    made.notes.write_text("".join([notes[0], "\n".join(lines), *notes[2:]]))


def edit_signature(made):
    notes = made.each_note()
    last = notes[-1].rstrip("\n")
    last = last[:-8] + ("A" if last[-8] != "A" else "B") + last[-7:]
    made.notes.write_text("".join([*notes[:-1], last + "\n"]))


def swap_notes(made):
    notes = made.each_note()
    made.notes.write_text("".join([notes[1], notes[0], *notes[2:]]))


def key_that_is_none(made):
    events = made.events()
    events[0][2]["public_key"] = events[0][2]["public_key"][:-4] + "AAAA"
    made.rechain(events)


def lead_out_of_the_folder(made):
    events = made.events()
    events[-1][2]["digests"]["../secret"] = "00"
    made.rechain(events)


@pytest.mark.parametrize(
    ("forge", "where", "says"),
    [
        (edit_line, "line 5", "was changed"),
        (edit_stats_and_chain_anew, "line 9", "not what checkpoint 3 signs"),
        (edit_last, "line 10", "not what checkpoint 4 signs"),
        (edit_first, "line 1", "not what checkpoint 1 signs"),
        (delete, "line 5", "put in, left out or moved"),
        (delete_and_chain_anew, "lines 2 to 8", "not what checkpoint 2 signs"),
        (delete_last, "line 10", "is missing"),
        (swap, "line 5", "put in, left out or moved"),
        (insert, "line 6", "put in, left out or moved"),
        (insert_and_chain_anew, "lines 2 to 8", "not what checkpoint 2 signs"),
        (carriage_returns, "line 1", "CR LF"),
        (a_carriage_return, "line 7", "CR LF"),
        (truncate_log, "line 7", "is missing"),
        (truncate_in_a_line, "line 10", "is missing"),
        (empty_log, "line 1", "is missing"),
        (replay_prefix, "line 11", "put in, left out or moved"),
        (append_after_the_end, "line 11", "behind the end of the run"),
        (recover_after_the_end, "line 11", "behind the end of the run"),
        (edit_zip, "submission.zip", "is not what the run wrote"),
        (edit_picture, "overlays_v122/a_z0001.png", "is not what the run wrote"),
        (edit_verifier, "verify_record.py", "is not what the run wrote"),
        (edit_note_root, "lines 2 to 8", "not what checkpoint 2 signs"),
        (edit_signature, "checkpoint 4", "is not signed by"),
        (swap_notes, "checkpoint 2", "behind one of 8"),
        (key_that_is_none, "line 1", "key"),
        (lead_out_of_the_folder, "line 10", "not what checkpoint 4 signs"),
    ],
)
def test_a_forgery_is_named(made, judge, forge, where, says):
    forge(made)
    code, sentence, place = judge(made)
    assert (code, place) == (TAMPERED, where)
    assert says in sentence


def test_a_clean_record_is_complete_and_says_that_it_vouches_for_itself(made, judge):
    assert judge(made) == (COMPLETE, "complete: 10 lines, 3 outputs", None)
    assert "self-signed" in verify(made.folder).notes[0]
    assert judge(made, [made.key])[0] == COMPLETE
    for found in (verify(made.folder, [made.key]), verify(made.folder, [], made.keep(1))):
        assert "vouched for by what you hold" in found.notes[0]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_log_and_checkpoints_cut_together_are_incomplete_unless_one_is_kept(made, judge, cut):
    """The beginning of a run, with its own checkpoints, is a killed run: only a kept checkpoint knows."""
    kept = made.keep()
    sizes = [int(note.split("\n")[1]) for note in made.each_note()]
    made.notes.write_text("".join(made.each_note()[:cut]))
    made.put(made.lines()[: sizes[cut - 1]])
    code, sentence, _ = judge(made)
    assert code == INCOMPLETE
    assert f"ends at line {sizes[cut - 1]}" in sentence
    assert judge(made, [], kept)[::2] == (TAMPERED, f"line {sizes[cut - 1] + 1}")


def test_lines_that_nobody_signed_are_incomplete(made, judge):
    made.notes.write_text("".join(made.each_note()[:-1]))
    assert judge(made)[:2] == (INCOMPLETE, "incomplete: lines 10 to 10 are not signed")
    made.notes.unlink()
    assert judge(made)[:2] == (INCOMPLETE, "incomplete: lines 1 to 10 are not signed")


def test_a_torn_checkpoint_is_incomplete(made, judge):
    made.notes.write_bytes(made.notes.read_bytes()[:-20])
    code, sentence, _ = judge(made)
    assert code == INCOMPLETE
    assert "the last checkpoint is torn" in sentence


def test_a_missing_output_is_incomplete(made, judge):
    (made.folder / "submission.zip").unlink()
    assert judge(made)[:2] == (INCOMPLETE, "incomplete: outputs are missing: submission.zip")


@pytest.mark.parametrize("view", VIEWS)
def test_a_changed_view_is_named(made, view):
    path = made.folder / view
    text = path.read_text()
    digit = next(c for c in reversed(text) if c.isdigit())
    at = text.rindex(digit)
    path.write_text(text[:at] + str((int(digit) + 1) % 10) + text[at + 1 :])
    found = verify(made.folder)
    assert (found.code, found.where) == (TAMPERED, view)
    path.write_text(text + "x")
    assert verify(made.folder).where == view
    path.unlink()
    found = verify(made.folder)
    assert found.code == COMPLETE
    assert any(view in note for note in found.notes)


def test_a_record_written_anew_by_another_key_needs_something_kept(made, judge, writes, tmp_path):
    """Who holds no key writes another log with his own: complete in itself, caught by the key or checkpoint kept."""
    kept, key = made.keep(), made.key
    origin = made.fields()["data"]["origin"]
    forged = writes(tmp_path / "forged", stats=10**6)
    text = forged.log.read_text().replace(forged.fields()["data"]["origin"], origin)
    assert judge(forged)[0] == COMPLETE
    code, sentence, _ = judge(forged, [key])
    assert (code, sentence) == (TAMPERED, "the record is not signed by the key that you expect")
    assert judge(forged, [], kept)[::2] == (TAMPERED, "line 1")
    assert judge(forged, [forged.key])[0] == COMPLETE
    forged.log.write_text(text)  # under the name of the true one
    assert judge(forged)[0] == TAMPERED


def test_a_record_stripped_of_its_signatures_cannot_be_checked(made, judge):
    key = made.key
    made.notes.unlink()
    events = made.events()
    events[0][2]["public_key"] = None
    made.rechain(events)
    assert judge(made)[:2] == (CANNOT, "cannot be checked: the record is not signed")
    assert judge(made, [key])[0] == TAMPERED


def test_what_cannot_be_read_cannot_be_checked(made, judge, tmp_path):
    (tmp_path / "no.txt").write_text("no checkpoint")
    assert judge(made, [], tmp_path / "no.txt")[0] == CANNOT
    assert judge(made, ["name+00000000+AAAA"])[0] == CANNOT
    made.log.unlink()
    assert judge(made)[0] == CANNOT


def test_a_zip_that_the_record_does_not_name_is_told(made, judge):
    events = made.events()
    del events[-1][2]["digests"]["submission.zip"]
    made.rechain(events)
    made.notes.write_text("".join(made.each_note()[:-1]))
    assert judge(made)[::2] == (TAMPERED, "submission.zip")


def test_fields_of_a_line_are_as_documented(made):
    for seq, line in enumerate(made.lines()):
        fields = json.loads(line)
        assert list(fields) == ["seq", "ts_ns", "mono_ns", "event", "data", "prev"]
        assert (fields["seq"], type(fields["ts_ns"]), type(fields["mono_ns"])) == (seq, str, str)
        assert line == json.dumps(fields, separators=(",", ":")).encode() + b"\n"
