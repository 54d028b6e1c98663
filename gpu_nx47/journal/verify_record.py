"""Check a run's record with one file: Python 3.11 and the package `cryptography`, nothing of the program that wrote it.

    python verify_record.py [--expect-key VKEY]... [--checkpoint FILE] [PATH]

PATH is the record, or its folder (default: the folder of this file). Exit code 0: complete; 1: tampered, with the line,
checkpoint or output; 2: incomplete; 3: cannot be checked. A forger can change the copy of this file that lies beside a
record: take it from where you trust it. What is not checked here: the JSON views (`nx47 log verify` regenerates them),
and that the outputs follow from the inputs (`nx47 log replay` computes them again).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

RECORD = "v122_ultra_authentic_360_merkle.jsonl"
CHECKPOINTS = "v122_ultra_authentic_360_merkle.checkpoint"
COMPLETE, TAMPERED, INCOMPLETE, CANNOT = 0, 1, 2, 3
FIELDS = ["seq", "ts_ns", "mono_ns", "event", "data", "prev"]
LONGEST_LINE = 1 << 26


class Stop(Exception):
    """The check is over: code, place, sentence."""


@dataclass
class Key:
    """One Ed25519 key, as `name+id+base64`."""

    name: str
    key_id: bytes
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Key:
        """Take a verifier key apart; ValueError where it does not agree with itself."""
        name, key_id, data = text.strip().split("+", 2)
        raw = base64.b64decode(data, validate=True)
        if len(raw) != 33 or raw[0] != 1 or not re.fullmatch(r"[^\s+]+", name):
            raise ValueError("not an Ed25519 verifier key")
        if hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != key_id:
            raise ValueError("the key's id does not fit")
        return cls(name, bytes.fromhex(key_id), raw[1:])

    def signed(self, text: bytes, lines: list[bytes]) -> bool:
        """Say whether one of the signature lines is this key's, of `text`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        for line in lines:
            name, data = line.decode().removeprefix("— ").split(" ")
            raw = base64.b64decode(data, validate=True)
            if (name, raw[:4]) == (self.name, self.key_id) and base64.b64encode(raw).decode() == data:
                try:
                    Ed25519PublicKey.from_public_bytes(self.public).verify(raw[4:], text)
                except InvalidSignature:
                    return False
                return True
        return False


@dataclass
class Segment:
    """Lines that one process wrote: its keys, and the first of its lines."""

    first: int
    own: str
    identity: str | None


@dataclass
class Held:
    """A checkpoint that the user kept; without its signatures it is good too."""

    origin: str
    size: int
    root: bytes
    signatures: list[bytes]

    @classmethod
    def read(cls, path: Path) -> Held:
        """Read the file; ValueError where it holds no checkpoint."""
        lines = [line.strip() for line in path.read_text("utf-8").strip().split("\n")]
        if len(lines) < 3:
            raise ValueError(f"{path} holds no checkpoint")
        signatures = [line.encode() for line in lines[3:] if re.fullmatch(r"— \S+ \S+", line)]
        return cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True), signatures)

    def is_signed_by(self, key: str) -> bool:
        """Say whether one of its signatures is that key's."""
        text = f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"
        try:
            return Key.parse(key).signed(text.encode(), self.signatures)
        except ValueError:
            return False


@dataclass
class State:
    """What the check knows so far."""

    expected: list[str]
    held: Held | None
    lines: int = 0
    prev: str = "0" * 64
    peaks: list[bytes] = field(default_factory=list)
    origin: str = ""
    named: Any = None
    event: str = ""
    end: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    signed: int = 0
    notes: int = 0
    unsigned: bool = False


def sha(*parts: bytes) -> bytes:
    """Return the SHA-256 of the parts together."""
    return hashlib.sha256(b"".join(parts)).digest()


def append(state: State, line: bytes) -> None:
    """Add a line to the tree of RFC 6962: one peak for each bit set in the number of lines."""
    node, rest = sha(b"\0", line), state.lines
    while rest & 1:
        node, rest = sha(b"\1", state.peaks.pop(), node), rest >> 1
    state.peaks.append(node)
    state.lines += 1


def root(state: State) -> bytes:
    """Return the root over the lines so far."""
    if not state.peaks:
        return sha()
    node = state.peaks[-1]
    for peak in state.peaks[-2::-1]:
        node = sha(b"\1", peak, node)
    return node


def check_line(state: State, raw: bytes) -> None:
    """Check one line, with its newline, against the line before, and take it."""
    number = state.lines + 1
    line = raw[:-1]
    if line.endswith(b"\r"):
        raise Stop(TAMPERED, f"line {number}", "ends in CR LF, not in LF")
    try:
        fields = json.loads(line)
        if list(fields) != FIELDS or not isinstance(fields["data"], dict):
            raise ValueError("other fields")
    except (ValueError, TypeError, RecursionError):
        raise Stop(TAMPERED, f"line {number}", "is no line of a record") from None
    if type(fields["seq"]) is not int or fields["seq"] != state.lines:
        raise Stop(TAMPERED, f"line {number}", f"has seq {fields['seq']}, not {state.lines}: lines were put in or out")
    if fields["prev"] != state.prev:
        raise Stop(TAMPERED, f"line {max(1, state.lines)}", "was changed: the next line names it by another hash")
    check_order(state, fields["event"], fields["data"])
    state.prev = hashlib.sha256(line).hexdigest()
    state.event = fields["event"]
    append(state, line)


def check_order(state: State, event: str, data: dict[str, Any]) -> None:
    """Check that an event may stand here; note who signs from here on."""
    number = state.lines + 1
    again = event == state.event == "RECOVERED"  # killed before its BOOT, and gone on with once more
    if not again and (event == "BOOT") != (number == 1 or state.event == "RECOVERED"):
        raise Stop(TAMPERED, f"line {number}", "BOOT stands first, or behind RECOVERED, and nowhere else")
    if state.event == "EXEC_COMPLETE" and (event != "RECOVERED" or "reason" not in state.end):
        raise Stop(TAMPERED, f"line {number}", "stands behind the end of the run")
    if event == "EXEC_COMPLETE":
        state.end = data
    if event == "RECOVERED" and (data.get("size"), data.get("root")) != (state.lines, root(state).hex()):
        raise Stop(TAMPERED, f"line {number}", "RECOVERED names another size or root than the lines before it")
    if event in ("BOOT", "RECOVERED"):
        own, identity = data.get("public_key"), data.get("identity_key")
        state.origin = state.origin or str(data.get("origin"))
        if state.event == "RECOVERED" and not again:  # its BOOT says the same again
            if own != state.named:
                raise Stop(TAMPERED, f"line {number}", "names another key than RECOVERED does")
            return
        state.named = own
        if own is None:
            state.unsigned = True
            return
        try:
            if Key.parse(own).name != state.origin:
                raise ValueError("another name")
            if identity is not None:
                Key.parse(identity)
        except (ValueError, TypeError, AttributeError):
            raise Stop(TAMPERED, f"line {number}", "names a key that is none") from None
        state.segments.append(Segment(number, own, identity))


def notes(stream: BinaryIO) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield (text, signature lines) of each note; the last has no signatures where it is torn."""
    text, signatures = b"", list[bytes]()
    while line := stream.readline(65_536):
        dash = line.startswith("— ".encode())
        if signatures and not dash:
            yield text, signatures
            text, signatures = b"", []
        if dash and line.endswith(b"\n"):
            signatures.append(line[:-1])
        elif dash or len(text) > 65_536:
            signatures = []
            break
        else:
            text += line
    if text or signatures:
        yield text, signatures


def check_note(state: State, text: bytes, signatures: list[bytes], size: int, wanted: bytes) -> None:
    """Check a checkpoint of the lines so far."""
    where = f"checkpoint {state.notes}"
    if root(state) != wanted:
        first = state.signed + 1
        lines = f"line {first}" if first == size else f"lines {first} to {size}"
        raise Stop(TAMPERED, lines, f"not what {where} signs")
    last = state.segments[-1] if state.segments else None
    keys = [] if last is None else [Key.parse(key) for key in (last.own, last.identity) if key is not None]
    try:
        if not keys or not all(key.signed(text[:-1], signatures) for key in keys):
            raise ValueError
    except ValueError:
        raise Stop(TAMPERED, where, "is not signed by the keys that the record names") from None
    state.signed = size


def read_note(state: State, text: bytes) -> tuple[int, bytes]:
    """Return size and root of the next checkpoint."""
    state.notes += 1
    try:
        match = re.fullmatch(r"([^\s+]+)\n([1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n\n", text.decode())
    except UnicodeDecodeError:
        match = None
    if match is None or base64.b64encode(base64.b64decode(match[3])).decode() != match[3]:
        raise Stop(TAMPERED, f"checkpoint {state.notes}", "is no checkpoint")
    if match[1] != state.origin or int(match[2]) <= state.signed:
        raise Stop(TAMPERED, f"checkpoint {state.notes}", "is of another record, or out of order")
    return int(match[2]), base64.b64decode(match[3])


def check_record(state: State, record: BinaryIO, stream: BinaryIO) -> bool:
    """Go through lines and checkpoints together; return whether something is torn."""
    following, torn = notes(stream), False
    note: tuple[bytes, list[bytes], int, bytes] | None = None

    def advance() -> None:
        nonlocal note, torn
        text, signatures = next(following, (b"", []))
        if text and not signatures:
            torn = True
        note = (text, signatures, *read_note(state, text)) if signatures else None

    first = True
    while raw := record.readline(LONGEST_LINE):
        if not raw.endswith(b"\n"):
            if len(raw) == LONGEST_LINE:
                raise Stop(TAMPERED, f"line {state.lines + 1}", "is longer than any line of a record")
            torn = True
            break
        check_line(state, raw)
        if first and not state.unsigned:
            advance()
        first = False
        if note is not None and note[2] == state.lines:
            check_note(state, *note)
            advance()
        check_held(state)
    if state.lines == 0 and next(following, (b"", []))[1]:
        raise Stop(TAMPERED, "line 1", "is missing: there are checkpoints")
    if note is not None:
        raise Stop(TAMPERED, f"line {state.lines + 1}", f"is missing: checkpoint {state.notes} is of {note[2]} lines")
    return torn


def check_held(state: State, *, ended: bool = False) -> None:
    """Check what the user holds against the lines so far."""
    if state.held is None:
        return
    if state.held.size == state.lines and state.held.root != root(state):
        raise Stop(TAMPERED, f"lines 1 to {state.lines}", "are not those of the checkpoint that you hold")
    if state.held.origin != state.origin:
        raise Stop(TAMPERED, "line 1", f"is of the record {state.origin}, you hold a checkpoint of {state.held.origin}")
    if ended and state.held.size > state.lines:
        raise Stop(TAMPERED, f"line {state.lines + 1}", f"is missing: you hold a checkpoint of {state.held.size} lines")


def vouched(state: State) -> list[bool]:
    """Say of each segment whether the user's key or checkpoint vouches for it."""
    if not state.segments:
        return []
    stops = [*(segment.first - 1 for segment in state.segments[1:]), state.signed]
    held = state.held
    return [
        bool({segment.own, segment.identity} & set(state.expected))
        or (held is not None and (held.size >= stop or held.is_signed_by(segment.own)))
        for segment, stop in zip(state.segments, stops, strict=True)
    ]


def check_outputs(state: State, folder: Path) -> list[str]:
    """Hash the outputs that EXEC_COMPLETE names; return those that are missing."""
    digests = state.end.get("digests") or {}
    missing = []
    for name, digest in digests.items():
        pure = PurePosixPath(name)
        path = folder / pure
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or (path.exists() and not path.is_file()):
            raise Stop(TAMPERED, name, "is no file of the record's folder")
        if not path.is_file():
            missing.append(name)
            continue
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                raise Stop(TAMPERED, name, "is not what the run wrote")
    if "submission.zip" not in digests and (folder / "submission.zip").exists():
        raise Stop(TAMPERED, "submission.zip", "is not named by the record")
    return missing


def verdict(state: State, torn: bool, folder: Path) -> tuple[int, str]:
    """Judge a record whose lines and checkpoints agree."""
    check_held(state, ended=True)
    whole = state.event == "EXEC_COMPLETE" and not torn and state.signed == state.lines
    missing = check_outputs(state, folder) if state.event == "EXEC_COMPLETE" else []
    good = vouched(state)
    for segment, fine in zip(state.segments, good, strict=True):
        print(f"from line {segment.first}: key {segment.own}: {'vouched for' if fine else 'self-signed'}")
    if state.expected and not any({segment.own, segment.identity} & set(state.expected) for segment in state.segments):
        raise Stop(TAMPERED, "the record", "is not signed by the key that you expect")
    if state.unsigned:
        return CANNOT, "cannot be checked: the record is not signed"
    if state.expected and not all(good):
        return CANNOT, "cannot be checked: the key that you expect did not sign every part"
    if not whole:
        return INCOMPLETE, f"incomplete: {state.lines} lines, {state.signed} of them signed, last event {state.event}"
    if missing:
        return INCOMPLETE, f"incomplete: outputs are missing: {', '.join(missing)}"
    keys = len(state.segments)
    gap = "" if keys == 1 or all(good) else f", {keys} keys, continuity unproven"
    return COMPLETE, f"complete: {state.lines} lines{gap}"


def check(folder: Path, expected: list[str], held: Path | None) -> tuple[int, str]:
    """Return exit code and sentence for the record in a folder."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        return CANNOT, "cannot be checked: pip install cryptography"
    try:
        outside = None if held is None else Held.read(held)
        wanted = [text.strip() for text in expected]
        list(map(Key.parse, wanted))
    except (OSError, ValueError) as error:
        return CANNOT, f"cannot be checked: the key or the checkpoint that you hold cannot be read: {error}"
    state = State(wanted, outside)
    try:
        found = folder / CHECKPOINTS
        with (folder / RECORD).open("rb") as record, found.open("rb") if found.exists() else io.BytesIO() as stream:
            return verdict(state, check_record(state, record, stream), folder)
    except Stop as stop:
        code, where, sentence = stop.args
        return code, f"tampered: {where} {sentence}"
    except OSError as error:
        return CANNOT, f"cannot be checked: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Check what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Check the record of a run.")
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--expect-key", action="append", default=[])
    parser.add_argument("--checkpoint", type=Path)
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as end:  # its 2 would say "incomplete"
        return CANNOT if end.code else COMPLETE
    folder = asked.path if asked.path.is_dir() else asked.path.parent
    code, sentence = check(folder, asked.expect_key, asked.checkpoint)
    print(sentence)
    return code


if __name__ == "__main__":
    sys.exit(main())
