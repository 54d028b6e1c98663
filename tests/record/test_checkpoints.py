"""Checkpoints are C2SP signed notes, as any reader of the specification takes them, and come when promised."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gpu_nx47 import journal
from gpu_nx47.errors import OutputError, UsageError
from gpu_nx47.events import Event
from gpu_nx47.journal import CHECKPOINT_NAME, RECORD_NAME, Dispatcher, Record
from gpu_nx47.journal.checkpoints import Checkpoints, begin
from gpu_nx47.journal.merkle import GrowingTree, leaf_hash, tree_root
from gpu_nx47.journal.notes import Checkpoint, NoteError, VerifierKey, read_held

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [  # certificate-transparency's reference tests: the tree of the first n leaves
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


# An independent reader, from the text of c2sp.org/signed-note and c2sp.org/tlog-checkpoint


def read_note(note):
    """Return text and [(name, key id, signature)]: the last empty line divides text and signatures."""
    text, _, signatures = note.rpartition("\n\n")
    found = []
    for line in signatures.split("\n")[:-1]:
        dash, name, data = line.split(" ")
        assert dash == "\u2014"
        raw = base64.b64decode(data)
        found.append((name, raw[:4], raw[4:]))
    return text + "\n", found


def read_key(vkey):
    """Return name, key id and public key: name+hex of SHA-256(name, newline, type, key)[:4]+base64(type, key)."""
    name, key_id, data = vkey.split("+", 2)
    raw = base64.b64decode(data)
    assert raw[0] == 1
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4] == bytes.fromhex(key_id)
    return name, bytes.fromhex(key_id), raw[1:]


def openssl_accepts(folder, public, text, signature):
    pem = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + public).decode()
    (folder / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
    (folder / "text").write_text(text)
    (folder / "sig").write_bytes(signature)
    command = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in text -sigfile sig"
    return subprocess.run(command.split(), cwd=folder, capture_output=True, check=False).returncode == 0


def has_openssl_3():
    if shutil.which("openssl") is None:
        return False
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False).stdout
    return said.startswith("OpenSSL 3")


def test_each_checkpoint_is_what_the_specification_says(made):
    lines = made.lines()
    name, key_id, _ = read_key(made.key)
    sizes = []
    for note in made.each_note():
        text, [(by, used, signature)] = read_note(note)
        origin, size, root = text.split("\n")[:3]
        assert (by, used, len(signature)) == (name, key_id, 64)
        assert (origin, text.count("\n")) == (name, 3)
        leaves = [hashlib.sha256(b"\0" + line[:-1]).digest() for line in lines[: int(size)]]
        assert base64.b64decode(root) == tree_root(leaves)
        sizes.append(int(size))
    assert sizes == [1, 8, 9, 10]  # BOOT, FILE_DONE, GLOBAL_STATS, EXEC_COMPLETE


@pytest.mark.skipif(not has_openssl_3(), reason="no OpenSSL 3 on the path")
def test_openssl_accepts_the_signature_and_no_other(made, tmp_path):
    *_, public = read_key(made.key)
    text, [(_, _, signature)] = read_note(made.each_note()[-1])
    assert openssl_accepts(tmp_path, public, text, signature)
    assert not openssl_accepts(tmp_path, public, text.replace("\n10\n", "\n11\n"), signature)
    assert not openssl_accepts(tmp_path, public, text, bytes([signature[0] ^ 1]) + signature[1:])


@pytest.mark.parametrize("size", range(9))
def test_the_growing_tree_gives_the_published_roots(size):
    tree = GrowingTree()
    for leaf in LEAVES[:size]:
        tree.append(leaf_hash(bytes.fromhex(leaf)))
    assert (tree.size, tree.root().hex()) == (size, ROOTS[size])


def test_the_growing_tree_is_the_tree_at_every_size_and_keeps_few_hashes():
    tree, leaves = GrowingTree(), []
    for number in range(300):
        leaves.append(leaf_hash(str(number).encode()))
        tree.append(leaves[-1])
        assert tree.root() == tree_root(leaves)
        assert len(tree._peaks) == (number + 1).bit_count()


# When


class Hand:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return 10**18 + self.now, self.now


def emitter(folder, hand, **options):
    dispatcher = journal.open_observers(folder, None, **options)
    dispatcher._clock = hand
    return dispatcher


def sizes(folder):
    text = (folder / CHECKPOINT_NAME).read_text()
    return [int(note.split("\n")[1]) for note in text.split("\ngpu-nx47/")]


def test_a_checkpoint_comes_every_256_lines_or_second(tmp_path):
    hand = Hand()
    dispatcher = emitter(tmp_path, hand)
    dispatcher.emit(Event("BOOT", dispatcher.keys))
    for _ in range(600):
        dispatcher.emit(Event("HEARTBEAT", {}))
    assert sizes(tmp_path) == [1, 257, 513]
    hand.now += 999_999_999
    dispatcher.emit(Event("HEARTBEAT", {}))
    assert sizes(tmp_path)[-1] == 513
    hand.now += 1
    dispatcher.emit(Event("HEARTBEAT", {}))
    assert sizes(tmp_path)[-1] == 603


def test_lines_are_on_the_disk_before_they_are_signed_and_the_note_after(tmp_path, monkeypatch):
    """Order: lines, fsync, note, fsync: a power cut leaves no note without its lines."""
    from gpu_nx47.journal import files

    record = Record(tmp_path / "r")
    signer = Checkpoints(tmp_path / "c", record, begin(None))
    dispatcher = Dispatcher([record, signer])
    names = {record._file._handle: "record", signer._file._handle: "notes"}
    done = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(files.os, "write", lambda h, d: done.append(("write", names[h])) or write(h, d))
    monkeypatch.setattr(files.os, "fsync", lambda h: done.append(("fsync", names[h])) or fsync(h))
    dispatcher.emit(Event("BOOT", {}))
    expected = [("write", "record"), ("fsync", "record"), ("write", "notes"), ("fsync", "notes")]
    assert done == expected


# Who


def identity(folder):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem, raw = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "key.pem"
    path.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, raw))
    return path


def test_an_identity_key_signs_the_same_note_and_vouches(tmp_path, writes, judge):
    path = identity(tmp_path)
    forger = writes(tmp_path / "out", identity=str(path))
    data = forger.fields()["data"]
    text, signatures = read_note(forger.each_note()[-1])
    assert [(name, key_id) for name, key_id, _ in signatures] == [
        read_key(data[k])[:2] for k in ("public_key", "identity_key")
    ]
    if has_openssl_3():
        for key, (_, _, signature) in zip((data["public_key"], data["identity_key"]), signatures, strict=True):
            assert openssl_accepts(tmp_path, read_key(key)[2], text, signature)
    assert judge(forger, [data["identity_key"]])[0] == 0
    note = forger.each_note()[-1].rstrip("\n").split("\n")
    forger.notes.write_text("".join(forger.each_note()[:-1]) + "\n".join(note[:-1]) + "\n")
    assert judge(forger)[::2] == (1, "checkpoint 4")  # one signature of two


@pytest.mark.parametrize("content", [None, b"no key", "rsa"])
def test_an_identity_key_that_is_none_is_refused_before_anything_is_written(tmp_path, content):
    path = tmp_path / "key.pem"
    if content == "rsa":
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.generate_private_key(ec.SECP256R1())
        parts = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        content = private.private_bytes(*parts)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="openssl genpkey"):
        journal.open_observers(tmp_path / "out", None, identity=str(path))
    assert not (tmp_path / "out").exists()


def test_without_cryptography_the_record_is_unsigned_and_says_so_once(tmp_path):
    """In a fresh interpreter that cannot import it."""
    program = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from gpu_nx47 import journal
from gpu_nx47.audit.verify import verify
from gpu_nx47.cli.console import UNSIGNED, Console
from gpu_nx47.events import Event
from gpu_nx47.journal import verify_record
out = Path(sys.argv[1])
observers = journal.open_observers(out, Console(sys.stdout, sys.stderr))
observers.emit(Event("BOOT", {"output": str(out), **observers.keys}))
observers.emit(Event("EXEC_COMPLETE", {"submission": None, "digests": {}}))
observers.close()
print(observers.keys["public_key"], verify(out).code, verify_record.check(out, [], None)[0])
"""
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[-1] == "None 3 3"
    assert sum("not signed" in line for line in said) == 1
    assert not (tmp_path / CHECKPOINT_NAME).exists()
    assert json.loads((tmp_path / RECORD_NAME).read_text().splitlines()[0])["data"]["public_key"] is None


# The text


def test_a_verifier_key_reads_back_and_one_that_disagrees_with_itself_is_refused(made):
    assert str(VerifierKey.parse(made.key)) == made.key
    name, key_id, data = made.key.split("+", 2)
    bad = [f"{name}x+{key_id}+{data}", f"{name}+00000000+{data}", f"{name}+{key_id}+AQ==", made.key[:-1], "", "a+b"]
    for text in bad:
        with pytest.raises(NoteError):
            VerifierKey.parse(text)


def test_a_checkpoint_reads_back_and_nothing_else_is_taken(made):
    note = made.each_note()[-1]
    found = Checkpoint.parse(note)
    assert (found.note(), found.size) == (note, 10)
    assert read_held("\n  " + note.replace("\n", "  \r\n")) == found
    assert read_held(found.text()).root == found.root
    rng = np.random.default_rng(5)
    for _ in range(300):
        raw = bytearray(note.encode())
        raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        try:
            other = Checkpoint.parse(raw.decode())
        except (NoteError, UnicodeDecodeError):
            continue
        assert other.note().encode() == bytes(raw)  # no byte without meaning
        assert other != found


# Recovery


def recovered(forger, cut_lines, cut_notes=None, torn=b""):
    """Cut a record as a killed process leaves it, go on behind it, and end."""
    forger.put(forger.lines()[:cut_lines])
    forger.log.write_bytes(forger.log.read_bytes() + torn)
    notes = [note for note in forger.each_note() if int(note.split("\n")[1]) <= cut_lines]
    forger.notes.write_text("".join(notes[:cut_notes]))
    earlier = journal.read_record(forger.log, lambda stamped: None)
    observers = journal.open_observers(forger.folder, None, earlier=earlier)
    observers.emit(Event("RECOVERED", {"size": earlier.lines, **observers.keys}))
    observers.emit(Event("BOOT", {"version": "1", "output": str(forger.folder), **observers.keys}))
    digests = journal.outputs_digests(forger.folder, ["a"], ["submission.zip"])
    observers.emit(Event("EXEC_COMPLETE", {"submission": "submission.zip", "digests": digests, "exit_code": 0}))
    observers.close()
    return observers.keys["public_key"]


@pytest.mark.parametrize("cut", [1, 4, 8, 9])
def test_a_record_with_two_keys_is_complete_and_says_that_continuity_is_unproven(made, judge, cut):
    first = made.key
    second = recovered(made, cut, torn=b'{"seq":')
    code, sentence, _ = judge(made)
    assert code == 0
    assert "2 keys, continuity unproven" in sentence
    assert judge(made, [first, second])[:2] == (0, sentence.replace(", continuity unproven", ""))
    for one in (first, second):
        code, sentence, _ = judge(made, [one])
        assert (code, sentence) == (3, "cannot be checked: the key that you expect did not sign every part")
    assert list(made.folder.glob("*.torn"))


def test_a_kept_last_checkpoint_vouches_for_every_part(made, judge):
    recovered(made, 8)
    assert judge(made, [], made.keep())[:2] == (0, f"complete: {len(made.lines())} lines, 3 outputs, 2 keys")


def test_a_torn_note_is_put_aside(made, judge):
    made.put(made.lines()[:9])
    notes = made.each_note()
    made.notes.write_text("".join(notes[:2]) + notes[2][:50])
    earlier = journal.read_record(made.log, lambda stamped: None)
    journal.open_observers(made.folder, None, earlier=earlier).close()
    assert made.notes.read_text() == "".join(notes[:2])
    (torn,) = made.folder.glob("*.checkpoint.*.torn")
    assert torn.read_text() == notes[2][:50]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("chained anew", "another root"),
        ("shorter", "is of 9 lines, the record has 6"),
        ("note", "another root"),
        ("signed by another", "not signed by the key that the record names"),
        ("no note", "cannot be read"),
    ],
)
def test_nobody_goes_on_behind_a_record_that_was_changed(made, what, says):
    events = made.events()[:9]
    made.notes.write_text("".join(made.each_note()[:3]))
    if what == "chained anew":
        events[4][2]["done"] = 9
    if what == "shorter":
        events = events[:6]
    if what == "note":
        made.notes.write_text(made.notes.read_text().replace("\n9\n", "\n8\n"))
    if what == "no note":
        made.notes.write_text(made.notes.read_text().replace("\n9\n", "\n09\n"))
    made.rechain(events)
    if what == "signed by another":
        origin = events[0][2]["origin"]
        bare = Checkpoint(origin, 9, tree_root([leaf_hash(line[:-1]) for line in made.lines()]))
        signature = begin(None, origin).signers[0].sign(bare.text())
        made.notes.write_text(Checkpoint(origin, 9, bare.root, (signature,)).note())
    before = made.log.read_bytes(), made.notes.read_bytes()
    earlier = journal.read_record(made.log, lambda stamped: None)
    with pytest.raises(OutputError, match=f"{says}.*was changed after it was signed"):
        journal.open_observers(made.folder, None, earlier=earlier)
    assert (made.log.read_bytes(), made.notes.read_bytes()) == before


def test_a_recovery_that_names_another_history_is_named(made, judge):
    recovered(made, 8)
    events = made.events()
    events[8][2]["size"] = 7
    made.rechain(events)
    made.notes.write_text("".join(made.each_note()[:2]))
    assert judge(made)[::2] == (1, "line 9")
