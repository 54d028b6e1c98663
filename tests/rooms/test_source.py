"""Discovery: which volumes, and what lies beside them."""

import numpy as np
import pytest
import tifffile

from cpu_fallback import law
from gpu_nx47 import budget
from gpu_nx47.errors import UsageError
from gpu_nx47.settings import Settings
from gpu_nx47.source import SLUG, differing_shapes, discover, natural_key


def stack(path, shape=(5, 8, 9), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones(shape, np.uint8), photometric="minisblack", **options)


def ids(found):
    return [source.id for source in found.sources]


def test_the_run_of_v121_counts_1_file_and_1615_assets(tmp_path):
    for folder, count in {"test_images": 1, "train_images": 806, "train_labels": 806}.items():
        (tmp_path / folder).mkdir()
        for k in range(count):
            (tmp_path / folder / f"{k}.tif").touch()  # empty: a competition root is listed, not opened
    (tmp_path / "train.csv").touch()
    (tmp_path / "test.csv").touch()

    found = discover(tmp_path)

    assert (found.layout, found.file_count, found.total_assets) == ("competition", 1, 1615)
    assert found.suffix_stats == {".csv": 2, ".tif": 1613}
    assert list(found.suffix_stats) == sorted(found.suffix_stats)
    assert found.folders == ("test_images", "train_images", "train_labels")
    assert len(found.train) == 806
    assert all(image.id == label.stem and label.parent.name == "train_labels" for image, label in found.train)


def test_images_without_labels_are_no_training_pairs(tmp_path):
    for name in ("test_images/a.tif", "train_images/b.tif", "train_images/c.TIF", "train_labels/c.tif"):
        stack(tmp_path / name)
    assert [(image.id, label.name) for image, label in discover(tmp_path).train] == [("c", "c.tif")]


def test_stacks_of_a_folder_come_in_natural_order_with_any_suffix_case(tmp_path):
    for name in ("v10.tif", "v9.TIF", "v1.Tiff", "readme.txt", "._v9.tif"):
        (stack if name[0] == "v" else lambda p: p.write_text("x"))(tmp_path / name)
    found = discover(tmp_path)
    assert (found.layout, ids(found)) == ("folder", ["v1", "v9", "v10"])
    assert found.suffix_stats == {".tif": 3, ".tiff": 1, ".txt": 1}


def test_one_stack(tmp_path):
    stack(tmp_path / "scan.tiff")
    found = discover(tmp_path / "scan.tiff")
    assert (found.layout, ids(found), found.total_assets, found.folders) == ("file", ["scan"], 1, ())
    assert found.suffix_stats == {".tiff": 1}


def test_single_page_slices_of_equal_shape_are_one_volume_named_after_the_folder(tmp_path):
    for k in (1, 2, 10):
        stack(tmp_path / "scroll" / f"z{k}.tif", (8, 9))
    found = discover(tmp_path / "scroll")
    assert (found.layout, ids(found)) == ("slices", ["scroll"])
    assert [path.name for path in found.sources[0].files] == ["z1.tif", "z2.tif", "z10.tif"]
    assert found.sources[0].path == tmp_path / "scroll"


def test_folders_of_slices_below_the_root_are_a_volume_each(tmp_path):
    for scroll in ("s10", "s2"):
        for k in range(3):
            stack(tmp_path / scroll / f"{k}.tif", (8, 9))
    stack(tmp_path / "stacks" / "a.tif")
    found = discover(tmp_path)
    assert (found.layout, ids(found)) == ("slices", ["s2", "s10"])
    stack(tmp_path / "top.tif")
    assert (discover(tmp_path).layout, ids(discover(tmp_path))) == ("folder", ["s2", "s10", "top"])


@pytest.mark.parametrize("name", ["test_images", "my_images"])
def test_a_folder_of_images_is_never_slices(tmp_path, name):
    for k in range(3):
        stack(tmp_path / name / f"{k}.tif", (8, 9))
    assert ids(discover(tmp_path / name)) == ["0", "1", "2"]


@pytest.mark.parametrize("odd", [(8, 10), (5, 8, 9)])
def test_unequal_pages_or_a_stack_among_them_are_no_slices(tmp_path, odd):
    for k in range(3):
        stack(tmp_path / f"{k}.tif", (8, 9))
    stack(tmp_path / "3.tif", odd)
    assert ids(discover(tmp_path)) == ["0", "1", "2", "3"]


def test_one_damaged_slice_does_not_dissolve_its_volume(tmp_path):
    for k in range(3):
        stack(tmp_path / "scroll" / f"{k}.tif", (8, 9))
    (tmp_path / "scroll" / "1.tif").write_bytes(b"II*\0\x08\0\0\0")
    assert ids(discover(tmp_path / "scroll")) == ["scroll"]


def test_a_lone_slice_is_a_file_and_loading_will_refuse_it(tmp_path):
    stack(tmp_path / "only.tif", (8, 9))
    assert ids(discover(tmp_path)) == ["only"]


@pytest.mark.parametrize("make", ["missing", "empty", "no volumes", "wrong suffix", "empty test_images"])
def test_a_root_with_nothing_to_do_is_refused_with_what_to_give(tmp_path, make):
    root = tmp_path / "root"
    if make != "missing":
        root.mkdir()
    if make == "no volumes":
        stack(root / "deep" / "a.tif")
    if make == "wrong suffix":
        root = root / "a.png"
        root.write_bytes(b"x")
    if make == "empty test_images":
        (root / "test_images").mkdir()
    with pytest.raises(UsageError, match="Give a competition root") as caught:
        discover(root)
    assert str(root) in str(caught.value)
    if make == "no volumes":
        assert "deep" in str(caught.value)


def test_two_volumes_of_one_id_are_refused(tmp_path):
    stack(tmp_path / "a.tif")
    stack(tmp_path / "a.tiff")
    with pytest.raises(UsageError, match=r"a\.tif and .*a\.tiff would both"):
        discover(tmp_path)


@pytest.mark.parametrize("place", ["some-slug", f"competitions/{SLUG}", "datasets/owner/some-slug"])
def test_without_a_root_kaggles_inputs_are_searched(tmp_path, place):
    stack(tmp_path / place / "test_images" / "1.tif")
    (tmp_path / "other").mkdir()
    assert discover(None, kaggle_input=tmp_path).root == tmp_path / place


def test_the_competition_itself_goes_before_copies_of_its_layout(tmp_path):
    for place in (f"competitions/{SLUG}", "copy-a", "copy-b"):
        stack(tmp_path / place / "test_images" / "1.tif")
    assert discover(None, kaggle_input=tmp_path).root == tmp_path / "competitions" / SLUG


def test_without_a_root_nothing_or_too_much_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder with test_images"):
        discover(None, kaggle_input=tmp_path)
    with pytest.raises(UsageError, match="no ROOT given"):
        discover(None, kaggle_input=tmp_path / "none")
    for place in ("a", "b"):
        stack(tmp_path / place / "test_images" / "1.tif")
    with pytest.raises(UsageError, match="several inputs"):
        discover(None, kaggle_input=tmp_path)


def test_a_link_back_up_ends(tmp_path):
    stack(tmp_path / "a.tif")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert discover(tmp_path).total_assets == 1


def test_natural_order():
    names = ["z10", "z9", "z09", "z1b", "a", "1", "z", "²"]
    assert sorted(names, key=natural_key) == ["1", "a", "z", "z1b", "z09", "z9", "z10", "²"]


# Shapes beside one another ------------------------------------------------------------------------------------------


def differing(root):
    """Return what differs, by headers that are read and by those that a budget knows."""
    sources = discover(root).sources
    found = list(differing_shapes(sources))
    assert list(differing_shapes(sources, budget.Budget(Settings(), law, 2).headers)) == found
    return found


def test_a_stack_with_fewer_pages_than_most_beside_it_is_named(tmp_path):
    for name, depth in {"a": 6, "b": 6, "c": 6, "d": 5, "e": 7}.items():
        stack(tmp_path / f"{name}.tif", (depth, 8, 9), metadata=None)
    assert differing(tmp_path) == [("d", (5, 8, 9), (6, 8, 9))]  # more pages are no cut


def test_stacks_that_need_not_be_alike_are_not_named(tmp_path):
    stack(tmp_path / "counted.tif", (5, 8, 9))  # tifffile's description tells the number of pages
    stack(tmp_path / "other.tif", (4, 8, 10), metadata=None)
    for name, depth in {"a": 6, "b": 6, "c": 6}.items():
        stack(tmp_path / f"{name}.tif", (depth, 8, 9), metadata=None)
    (tmp_path / "damaged.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-400])
    assert differing(tmp_path) == []


def test_half_of_the_stacks_is_not_most_of_them(tmp_path):
    for name, depth in {"a": 6, "b": 5}.items():
        stack(tmp_path / f"{name}.tif", (depth, 8, 9), metadata=None)
    assert differing(tmp_path) == []


@pytest.mark.parametrize("counted", [True, False])
def test_a_stack_of_another_shape_than_its_label_is_named(tmp_path, counted):
    options = {} if counted else {"metadata": None}
    for name, depth in {"a": 5, "b": 6, "c": 6}.items():
        stack(tmp_path / "train_images" / f"{name}.tif", (depth, 8, 9), **options)
    for name in "ab":
        stack(tmp_path / "train_labels" / f"{name}.tif", (6, 8, 9), **options)
    assert differing(tmp_path / "train_images") == [("a", (5, 8, 9), (6, 8, 9))]
    assert differing(tmp_path / "train_images" / "a.tif") == [("a", (5, 8, 9), (6, 8, 9))]
    assert differing(tmp_path / "train_images" / "c.tif") == []


def test_a_folder_of_slices_is_compared_with_nothing(tmp_path):
    for z in range(3):
        stack(tmp_path / "slices" / f"{z}.tif", (8, 9))
    assert differing(tmp_path / "slices") == []
