"""Stage Discovery: which volumes there are to do under a root, and what else lies there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from gpu_nx47.errors import DamagedInputError, InputError, UsageError
from gpu_nx47.volume import Source

Shape = tuple[int, int, int]

KAGGLE_INPUT: Final = Path("/kaggle/input")
SLUG: Final = "vesuvius-challenge-surface-detection"
SUFFIXES: Final = (".tif", ".tiff")
WHAT_TO_GIVE: Final = (
    "Give a competition root (a folder with test_images/), a folder of TIFF stacks, a folder of single-page slices, "
    "or one TIFF stack."
)


@dataclass(frozen=True)
class Discovery:
    """What lies under a root."""

    root: Path
    layout: str
    """`competition`, `folder` (of stacks), `file`, or `slices` (nothing but folders of single-page slices)."""
    sources: tuple[Source, ...]
    """The volumes to do, in natural order of their ids."""
    train: tuple[tuple[Source, Path], ...]
    """Training volumes, each with the file of its labels."""
    total_assets: int
    """Files of any kind under the root."""
    folders: tuple[str, ...]
    """Folders under the root, relative, with `/`, sorted."""
    suffix_stats: dict[str, int]
    """Files of each suffix, in lower case, sorted."""

    @property
    def file_count(self) -> int:
        """Volumes to do."""
        return len(self.sources)


def discover(root: Path | str | None, *, kaggle_input: Path = KAGGLE_INPUT) -> Discovery:
    """Find the volumes under a root.

    Parameters
    ----------
    root : path, optional
        A competition root, a folder of TIFF stacks or of slices (or of folders of slices), or one TIFF. None: the
        competition's folder on Kaggle.
    kaggle_input : Path
        Where Kaggle mounts its inputs.

    Raises
    ------
    UsageError
        Nothing there to do, or two volumes that would get one name.

    Notes
    -----
    A competition root is listed, not opened. In another folder headers are read only until one says that this is no
    folder of slices.
    """
    root = _kaggle_root(kaggle_input) if root is None else Path(root)
    if root.is_file():
        if not _is_tiff(root):
            raise UsageError(f"{root} is not a TIFF by its name; expected the suffix .tif or .tiff. {WHAT_TO_GIVE}")
        return Discovery(root, "file", (stack(root),), (), 1, (), {root.suffix.lower(): 1})
    if not root.is_dir():
        raise UsageError(f"{root} does not exist; expected a folder or a TIFF. {WHAT_TO_GIVE}")
    train: tuple[tuple[Source, Path], ...] = ()
    if (root / "test_images").is_dir():
        layout, sources = "competition", [stack(path) for path in tiffs(root / "test_images")]
        train = _train_pairs(root)
    else:
        layout, sources = _plain_folder(root)
    if not sources:
        where = "test_images/ of " if layout == "competition" else ""
        raise UsageError(f"no TIFF volume in {where}{root}{_hint(root)}. {WHAT_TO_GIVE}")
    _check_names(sources)
    sources.sort(key=lambda source: natural_key(source.id))
    total, folders, suffixes = _survey(root)
    return Discovery(root, layout, tuple(sources), train, total, folders, suffixes)


def headers(source: Source) -> tuple[Shape, bool] | None:
    """Return a stack's shape, and whether its description tells the number of pages; None where it is refused."""
    from gpu_nx47._tiff import inspect_file

    try:
        info = inspect_file(source.path)
    except InputError:  # a folder of slices too
        return None
    return info.shape, info.counted


def differing_shapes(
    sources: Iterable[Source], told: Callable[[Source], tuple[Shape, bool] | None] = headers
) -> Iterator[tuple[str, Shape, Shape]]:
    """Yield the id and shape of each stack whose shape is doubtful, with the shape of what it is compared with.

    Parameters
    ----------
    sources : iterable of Source
        Only headers are read; files that are refused and folders of slices are passed over.
    told : callable
        As `headers`; where the stacks' headers are known already, they need not be read again.

    Notes
    -----
    A stack cut between two pages, whose file tells no number of pages, looks whole. Two things can tell: its label
    (`x_labels/` beside `x_images/`) has another shape; or it has fewer pages than more than half of the stacks with
    pages of its size, itself counted, have in common.
    """
    stacks = [(source, *found) for source in sources if (found := told(source)) is not None]
    depths: dict[tuple[int, ...], Counter[int]] = {}
    for _, shape, _ in stacks:
        depths.setdefault(shape[1:], Counter())[shape[0]] += 1
    for source, shape, counted in stacks:
        alike = depths[shape[1:]]
        usual, times = alike.most_common(1)[0]
        label = headers(stack(_label_path(source.path)))
        if label is not None and label[0] != shape:
            yield source.id, shape, label[0]
        elif not counted and shape[0] < usual and 2 * times > alike.total():
            yield source.id, shape, (usual, *shape[1:])


def _label_path(image: Path) -> Path:
    """Return where the label of an image would lie, by the competition's names."""
    return image.parent.with_name(re.sub("_images$", "", image.parent.resolve().name) + "_labels") / image.name


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a sort key under which z9 comes before z10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts), name


def _kaggle_root(kaggle_input: Path) -> Path:
    """Return the one folder with test_images among Kaggle's inputs."""
    levels = ("competitions/*", "*", "datasets/*/*")
    found = [sorted(p for p in kaggle_input.glob(f"{level}") if (p / "test_images").is_dir()) for level in levels]
    for paths in found:  # the competition itself first, however many data sets copy its layout
        for path in paths:
            if path.name == SLUG:
                return path
    for paths in found:
        if len(paths) == 1:
            return paths[0]
        if paths:
            raise UsageError(
                f"several inputs have test_images/: {', '.join(map(str, paths))}. Give one of them as ROOT."
            )
    where = f"no folder with test_images/ under {kaggle_input}" if kaggle_input.is_dir() else "no ROOT given"
    raise UsageError(f"{where}. {WHAT_TO_GIVE}")


def _plain_folder(root: Path) -> tuple[str, list[Source]]:
    """Return the layout and the volumes of a folder that is no competition root."""
    own = tiffs(root)
    if _are_slices(root, own):
        return "slices", [_sliced(root, own)]
    sources = [stack(path) for path in own]
    sliced = [
        _sliced(folder, files)
        for folder in _folders(root)
        if len(files := tiffs(folder)) >= 2 and _are_slices(folder, files)
    ]
    return "folder" if sources or not sliced else "slices", sources + sliced


def _are_slices(folder: Path, files: list[Path]) -> bool:
    """Tell whether a folder's TIFFs are slices of one volume: two or more, all of one page, of equal shape and type.

    A file that cannot be read does not decide: among good slices it is a damaged slice, which loading refuses by name.
    """
    if len(files) < 2 or folder.resolve().name.endswith("_images"):
        return False
    from gpu_nx47._tiff import inspect_file

    kinds = []
    for path in files:
        try:
            info = inspect_file(path, single=True)
        except DamagedInputError:
            continue
        except InputError:  # a stack, or a picture in colours
            return False
        kinds.append((info.shape, info.dtype.newbyteorder("=")))
        if kinds[-1] != kinds[0]:
            return False
    return len(kinds) >= 2


def _train_pairs(root: Path) -> tuple[tuple[Source, Path], ...]:
    labels = {path.stem: path for path in tiffs(root / "train_labels")}
    images = (stack(path) for path in tiffs(root / "train_images"))
    return tuple((image, labels[image.id]) for image in images if image.id in labels)


def stack(path: Path) -> Source:
    """Return a TIFF stack as a volume to do."""
    return Source(path.stem, path, (path,))


def _sliced(folder: Path, files: list[Path]) -> Source:
    return Source(folder.resolve().name, folder, tuple(files))


def _is_tiff(path: PurePath) -> bool:
    # "._x.tif" is what a Mac leaves beside x.tif on foreign disks.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _listed(folder: Path, good: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    """Return the good entries of a folder in natural order; none where it is not there or not to be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if good(entry)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed: {error.strerror}. Check its permissions.") from error
    return [folder / name for name in sorted(names, key=natural_key)]


def tiffs(folder: Path) -> list[Path]:
    """Return the TIFFs of a folder in natural order; none where it is not there."""
    return _listed(folder, lambda entry: _is_tiff(PurePath(entry.name)) and entry.is_file())


def _folders(folder: Path) -> list[Path]:
    return _listed(folder, lambda entry: not entry.name.startswith(".") and entry.is_dir())


def _check_names(sources: Iterable[Source]) -> None:
    """Refuse two volumes of one id: their masks would overwrite one another in the submission."""
    seen: dict[str, Path] = {}
    for source in sources:
        if source.id in seen:
            raise UsageError(
                f"{seen[source.id]} and {source.path} would both be written as {source.id}.tif. "
                "Rename one, or give one of them as ROOT."
            )
        seen[source.id] = source.path


def _survey(root: Path) -> tuple[int, tuple[str, ...], dict[str, int]]:
    """Return the number of files, the folders and the suffixes under a root, links followed, each folder once."""
    total = 0
    folders: list[str] = []
    suffixes: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    for here, inner, files in os.walk(root, followlinks=True):
        mark = os.stat(here)
        if (mark.st_dev, mark.st_ino) in seen:  # a link back up would never end
            inner.clear()
            continue
        seen.add((mark.st_dev, mark.st_ino))
        inner.sort()
        if Path(here) != root:
            folders.append(Path(here).relative_to(root).as_posix())
        total += len(files)
        suffixes.update(os.path.splitext(name)[1].lower() for name in files)
    return total, tuple(sorted(folders)), dict(sorted(suffixes.items()))


def _hint(root: Path) -> str:
    """Return where TIFFs do lie, one level down, as a clause."""
    inside = [folder.name for folder in _folders(root) if tiffs(folder)]
    return f" (there are TIFFs in {', '.join(inside[:5])})" if inside else ""
