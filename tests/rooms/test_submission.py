"""The submission: the zip whole or absent, equal bytes for equal masks, and a check that names each kind of mistake."""

import hashlib
import io
import json
import os
import zipfile

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from gpu_nx47 import arrays, atomic, mask_check, mask_file, submission
from gpu_nx47.errors import OutputError
from gpu_nx47.submission import SubmissionWriter, check_submission, encode_mask

RNG = np.random.default_rng(47)
MASKS = {name: RNG.random((7, 33, 290)) < 0.05 for name in ("10", "9", "b")}
SHAPES = {name: mask.shape for name, mask in MASKS.items()}


def write(path, masks=MASKS):
    writer = SubmissionWriter(path)
    try:
        for name, mask in masks.items():
            writer.add(name, mask)
        return writer.close()
    finally:
        writer.discard()


# Masks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 33, 290), (1, 5, 6), (3, 9, 8), (4, 9, 8), (5, 1, 1), (2, 300, 700)])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8])
def test_a_mask_reads_back_equal_with_pillow_tifffile_and_opencv(shape, dtype):
    mask = (RNG.random(shape) < 0.2).astype(dtype)
    data = encode_mask(mask)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == shape[0]
        for z in range(shape[0]):
            image.seek(z)
            assert (image.mode, image.info["compression"]) == ("L", "tiff_lzw")
            assert len(image.tag_v2[273]) == 1
            assert np.array_equal(np.asarray(image), mask[z])
    found = tifffile.imread(io.BytesIO(data))
    assert (found.shape, found.dtype) == (shape, np.uint8)
    assert np.array_equal(found, mask)
    assert np.array_equal(np.stack(cv2.imdecodemulti(np.frombuffer(data, np.uint8), -1)[1]), mask)


def test_a_masks_bytes_name_no_date_and_no_program():
    data = encode_mask(MASKS["9"])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        names = {tag.name for page in file.pages for tag in page.tags}
    assert not names & {"DateTime", "Software", "Artist", "HostComputer"}
    assert encode_mask(MASKS["9"].copy()) == data
    assert encode_mask(np.asfortranarray(MASKS["9"])) == data


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_a_page_has_the_bytes_that_it_has_alone(share, monkeypatch):
    mask = RNG.random((7, 150, 161)) < share  # noise clears a page's table several times
    together = encode_mask(mask)
    for number in (1, 3):
        monkeypatch.setattr(mask_file, "RUN", number * mask[0].size)
        assert encode_mask(mask) == together


@pytest.mark.parametrize(
    "mask", [np.full((2, 3, 4), 2, np.uint8), np.zeros((3, 4), bool), np.zeros((0, 3, 4), bool), np.zeros((2, 3, 4))]
)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(OutputError, match="mask"):
        encode_mask(mask)


# The zip ------------------------------------------------------------------------------------------------------------


def test_members_are_sorted_stored_and_dated_1980(tmp_path):
    with zipfile.ZipFile(write(tmp_path / "submission.zip")) as archive:
        infos = archive.infolist()
        assert archive.comment == b""
        assert archive.testzip() is None
        for name, mask in MASKS.items():
            assert np.array_equal(tifffile.imread(io.BytesIO(archive.read(f"{name}.tif"))), mask)
    assert [info.filename for info in infos] == ["10.tif", "9.tif", "b.tif"]
    for info in infos:
        assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
        assert (info.create_system, info.external_attr, info.extra, info.comment) == (3, 0o100644 << 16, b"", b"")


def test_equal_masks_give_equal_bytes_in_any_order_and_folder(tmp_path):
    one = write(tmp_path / "a" / "submission.zip").read_bytes()
    turned = {name: MASKS[name].astype(np.uint8) for name in reversed(MASKS)}
    assert write(tmp_path / "b" / "other.zip", turned).read_bytes() == one
    changed = MASKS | {"b": ~MASKS["b"]}
    assert write(tmp_path / "c.zip", changed).read_bytes() != one


def test_only_the_zip_is_left(tmp_path):
    write(tmp_path / "submission.zip")
    assert os.listdir(tmp_path) == ["submission.zip"]


def test_a_second_mask_of_a_name_replaces_the_first(tmp_path):
    writer = SubmissionWriter(tmp_path / "s.zip")
    writer.add("9", ~MASKS["9"])
    writer.add("9", MASKS["9"])
    writer.close()
    assert check_submission(tmp_path / "s.zip", {"9": MASKS["9"].shape}).foreground == MASKS["9"].sum()


@pytest.mark.parametrize("name", ["", ".a", "a/b", "..", "a\\b", "a\nb", "c:d"])
def test_a_name_that_is_no_plain_file_is_refused(tmp_path, name):
    writer = SubmissionWriter(tmp_path / "s.zip")
    with pytest.raises(OutputError, match="plain file name"):
        writer.add(name, MASKS["9"])


def disk_full():
    return OSError(28, "No space left on device")


def failing(call, number, error):
    """Return `call`, failing the `number`-th time."""
    count = iter(range(1000))

    def wrapped(*args, **kwargs):
        if next(count) == number:
            raise error()
        return call(*args, **kwargs)

    return wrapped


def attempt(path):
    """Write; return whether it failed, and the message."""
    try:
        write(path)
    except OutputError as caught:
        return True, str(caught)
    except KeyboardInterrupt:
        return True, None
    return False, None


@pytest.mark.parametrize("old", [False, True], ids=["no zip before", "an old zip"])
@pytest.mark.parametrize("error", [disk_full, KeyboardInterrupt], ids=["full", "Ctrl-C"])
# A ZipFile whose close was made to fail tries once more in its destructor: noise of this test, not of a real failure.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", ["os.replace", "os.fsync", "zipfile.ZipFile.writestr", "zipfile.ZipFile.close"])
def test_a_failure_anywhere_leaves_the_old_zip_or_none(tmp_path, monkeypatch, place, error, old):
    path = tmp_path / "submission.zip"
    before = write(path, {"old": MASKS["9"]}).read_bytes() if old else None
    calls = 0
    while calls < 40:
        module, _, name = place.rpartition(".")
        owner = {"os": os, "zipfile.ZipFile": zipfile.ZipFile}[module]
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing(getattr(owner, name), calls, error))
            reached, said = attempt(path)
        if not reached:
            break
        assert said is None if error is KeyboardInterrupt else "No space left" in said and "--output" in said
        left = os.listdir(tmp_path)
        if left == ["submission.zip"] and path.read_bytes() != before:
            # The rename was done, and only flushing the folder failed: the new zip is whole.
            assert place == "os.fsync"
            assert check_submission(path, SHAPES).ok
            path.unlink() if before is None else path.write_bytes(before)
        else:
            assert left == (["submission.zip"] if old else [])
        calls += 1
    assert 0 < calls < 40
    assert check_submission(path, SHAPES).ok


def test_masks_wait_for_a_run_that_goes_on(tmp_path):
    first = SubmissionWriter(tmp_path / "s.zip")
    digest = first.add("9", MASKS["9"])
    assert os.listdir(tmp_path) == [first.waiting.name]
    second = SubmissionWriter(tmp_path / "s.zip", fresh=False)
    assert hashlib.sha256((second.waiting / "9.tif").read_bytes()).hexdigest() == digest
    second.keep("9")
    second.add("10", MASKS["10"])
    assert check_submission(second.close(), {name: SHAPES[name] for name in ("9", "10")}).ok
    assert not list(SubmissionWriter(tmp_path / "s.zip").waiting.iterdir())


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--output"):
        SubmissionWriter(tmp_path / "file" / "s.zip")


def test_a_whole_file_is_replaced_or_untouched(tmp_path):
    path = tmp_path / "a"
    atomic.write_whole(path, b"old")
    with pytest.raises(TypeError), atomic.whole_file(path) as file:
        file.writelines([b"new, half", None])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    with pytest.raises(OutputError, match="does not exist"):
        atomic.write_whole(tmp_path / "none" / "a", b"")


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


# The check ----------------------------------------------------------------------------------------------------------


def test_a_good_submission_is_accepted_with_its_counts(tmp_path):
    report = check_submission(write(tmp_path / "s.zip"), SHAPES)
    assert (report.ok, report.problems, report.members) == (True, (), 3)
    assert report.voxels == 3 * 7 * 33 * 290
    assert report.foreground == sum(int(mask.sum()) for mask in MASKS.values())
    assert check_submission(tmp_path / "s.zip", SHAPES, threads=3) == report


@pytest.mark.parametrize("inner", ["", "test_images"])
def test_the_shapes_may_come_from_a_folder_of_images(tmp_path, inner):
    images = tmp_path / "images"
    (images / inner).mkdir(parents=True)
    for name, shape in SHAPES.items():
        tifffile.imwrite(images / inner / f"{name}.tif", np.ones(shape, np.uint8), compression="lzw")
    path = write(tmp_path / "s.zip")
    assert check_submission(path, images).ok
    tifffile.imwrite(images / inner / "9.tif", np.ones((7, 33, 291), np.uint8))
    tifffile.imwrite(images / inner / "new.tif", np.ones((7, 33, 291), np.uint8))
    problems = check_submission(path, images).problems
    assert "9.tif has the shape (7, 33, 290); expected (7, 33, 291), as its image" in problems
    assert "new.tif is missing" in problems
    assert not check_submission(path, tmp_path / "nowhere").ok


def members(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **({"photometric": "minisblack", "compression": "lzw"} | options))
    return file.getvalue()


SHAPE = (5, 12, 13)
GOOD = (RNG.random(SHAPE) < 0.3).astype(np.uint8)
CUT = encode_mask(GOOD)
TWO = GOOD * 2
PROBLEMS = {
    "missing": ([], "a.tif is missing"),
    "extra": ([("a.tif", CUT), ("b.tif", CUT)], "b.tif has no image of that name"),
    "a table beside": ([("a.tif", CUT), ("log.csv", b"x")], "log.csv has no image"),
    "in a folder": ([("masks/a.tif", CUT)], "masks/a.tif has no image of that name"),
    "a folder": ([("a.tif", CUT), ("masks/", b"")], "masks/ is a folder"),
    "other suffix": ([("a.tiff", CUT)], "a.tiff has no image"),
    "fewer slices": ([("a.tif", encode_mask(GOOD[:4]))], "shape (4, 12, 13); expected (5, 12, 13)"),
    "more slices": ([("a.tif", encode_mask(np.concatenate([GOOD, GOOD])))], "shape (10, 12, 13); expected (5, 12, 13)"),
    "turned": ([("a.tif", encode_mask(GOOD.transpose(0, 2, 1)))], "shape (5, 13, 12); expected (5, 12, 13)"),
    "one page": ([("a.tif", tiff(GOOD[0]))], "2-D picture"),
    "uint16": ([("a.tif", tiff(GOOD.astype(np.uint16)))], "the mode is I;16; expected L"),
    "float": ([("a.tif", tiff(GOOD.astype(np.float32)))], "the mode is F; expected L"),
    "bits": ([("a.tif", tiff(GOOD.astype(bool)))], "type of grey value"),
    "colours": ([("a.tif", tiff(np.stack([GOOD] * 3, -1), photometric="rgb"))], "not grey"),
    "a 2": ([("a.tif", tiff(TWO))], "the value 2 occurs; expected 0 and 1 only"),
    "255": ([("a.tif", tiff(GOOD * 255))], "the value 255 occurs"),
    "deflate": ([("a.tif", tiff(GOOD, compression="zlib"))], "the compression is tiff_adobe_deflate; expected LZW"),
    "uncompressed": ([("a.tif", tiff(GOOD, compression=None))], "the compression is raw; expected LZW"),
    "cut": ([("a.tif", CUT[:-300])], "cut"),
    "empty": ([("a.tif", b"")], "not a TIFF"),
    "a picture of another kind": ([("a.tif", b"\x89PNG\r\n\x1a\n")], "not a TIFF"),
    "far too large": ([("a.tif", CUT + bytes(1 << 20))], "too many for a mask"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_check_names_what_is_wrong(tmp_path, problem):
    files, sentence = PROBLEMS[problem]
    report = check_submission(members(tmp_path / "s.zip", files), {"a": SHAPE})
    assert not report.ok
    assert any(sentence in found for found in report.problems), report.problems
    for threads in (2, 3, 99):
        assert check_submission(tmp_path / "s.zip", {"a": SHAPE}, threads=threads) == report


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_given_twice(tmp_path):
    report = check_submission(members(tmp_path / "s.zip", [("a.tif", CUT), ("a.tif", CUT)]), {"a": SHAPE})
    assert report.problems == ("a.tif stands 2 times in the zip",)


def test_damage_in_the_zip_itself(tmp_path):
    path = members(tmp_path / "s.zip", [("a.tif", CUT)])
    data = bytearray(path.read_bytes())
    data[len(CUT) // 2] ^= 1
    path.write_bytes(data)
    assert "CRC" in check_submission(path, {"a": SHAPE}).problems[0]
    path.write_bytes(data[:-30])
    assert "cannot be read as a zip" in check_submission(path, {"a": SHAPE}).problems[0]
    assert "cannot be read as a zip" in check_submission(tmp_path / "none.zip", {"a": SHAPE}).problems[0]


def test_every_problem_is_reported_not_only_the_first(tmp_path):
    files = [("a.tif", tiff(TWO)), ("x.tif", CUT), ("c.tif", encode_mask(GOOD[:3]))]
    report = check_submission(members(tmp_path / "s.zip", files), {"a": SHAPE, "b": SHAPE, "c": SHAPE})
    assert len(report.problems) == 4


def test_an_image_of_unknown_shape_asks_only_for_a_mask(tmp_path):
    path = members(tmp_path / "s.zip", [("a.tif", CUT)])
    assert check_submission(path, {"a": None}).ok
    assert not check_submission(path, {"a": None, "b": None}).ok


def test_pillows_limit_on_large_pages_is_lifted_only_for_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # a page has 156: Pillow alone would refuse it
    assert check_submission(members(tmp_path / "s.zip", [("a.tif", CUT)]), {"a": SHAPE}).ok
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 4, 6, 10])
def test_pillow_is_believed_about_the_number_of_pages(count, threads):
    problems = []
    data = encode_mask(np.concatenate([GOOD, GOOD])[:count])
    counted = mask_check._read_pages(data, "a", SHAPE, problems, threads=threads)
    assert problems == [f"a has {count} pages; expected 5, as its image"]
    assert counted == (count * 156, int(np.concatenate([GOOD, GOOD])[:count].sum()))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_of_each_kind_of_problem_the_lowest_page_is_named(threads):
    problems, stack = [], np.where(np.arange(5)[:, None, None] >= 2, TWO + 1, GOOD)
    mask_check._read_pages(tiff(stack), "a", (6, 12, 13), problems, whole=np.zeros(SHAPE, np.uint8), threads=threads)
    assert [problem.split(":")[0] for problem in problems] == [
        "a, page 0",
        "a, page 2",
        "a has 5 pages; expected 6, as its image",
    ]


# Arrays of --save ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 8, 9), (7, 5, 6)])
def test_saved_codes_read_back_with_their_scale(tmp_path, dtype, shape):
    codes = (RNG.standard_normal(shape) * 90).astype(dtype)
    path = arrays.save_array(tmp_path / "a.tif", codes, step=0.25, offset=-1.5, unit="grey/voxel²", name="laplace")
    with tifffile.TiffFile(path) as file:
        said = json.loads(file.pages[0].description)
        assert np.array_equal(file.asarray(), codes)
        assert file.asarray().shape == shape
    assert {key: said[key] for key in ("name", "step", "offset", "unit")} == {
        "name": "laplace", "step": 0.25, "offset": -1.5, "unit": "grey/voxel²",
    }  # fmt: skip
    assert os.listdir(tmp_path) == ["a.tif"]


def test_saved_codes_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", failing(os.replace, 0, disk_full))
    with pytest.raises(OutputError, match="No space"):
        arrays.save_array(tmp_path / "a.tif", GOOD, step=1, offset=0, unit="1", name="p")
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputError, match="plain numbers"):
        arrays.save_array(tmp_path / "a.tif", GOOD.astype(complex), step=1, offset=0, unit="1", name="p")


def test_the_public_names_of_the_room():
    for name in ("SubmissionWriter", "check_submission", "encode_mask", "CheckReport"):
        assert hasattr(submission, name)
