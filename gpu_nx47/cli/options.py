"""The options of `nx47 run`, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path | None,
    typer.Argument(help="A competition root, a folder of TIFFs, or one TIFF. On Kaggle it is found.", metavar="ROOT"),
]
Output = Annotated[
    Path | None, typer.Option(metavar="OUT", help="Folder of the results (./out; on Kaggle /kaggle/working).")
]
Backend = Annotated[str | None, typer.Option(metavar="auto|gpu|cpu|law", help="Where to compute; same bits.")]
Tile = Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxels worked on at once; same bits.")]
Threads = Annotated[int | None, typer.Option(metavar="N", help="Threads (0: every processor); same bits.")]
Memory = Annotated[str | None, typer.Option(metavar="4GB", help="Most memory to take; tiles shrink to fit, same bits.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings from a file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")
]
Save = Annotated[str | None, typer.Option(metavar="probability,normals,features", help="Further outputs, as TIFF.")]
Train = Annotated[
    bool, typer.Option("--train", help="First learn from ROOT/train_images and train_labels, then run with that model.")
]
Model = Annotated[Path | None, typer.Option(metavar="FILE", help="A model of `nx47 train` to run with.")]
Probability = Annotated[
    list[str] | None,
    typer.Option(
        "--probability",
        metavar="DIR[=WEIGHT]",
        help="Cut another program's probabilities, <id>.tif or nnU-Net's <id>.npz; may be repeated: a weighted mean.",
    ),
]
Umbilicus = Annotated[
    Path | None,
    typer.Option(metavar="FILE|DIR", help="Points z,y,x of the scroll's axis, text or JSON; DIR: <id>.txt for each."),
]
Untrusted = Annotated[
    bool, typer.Option("--untrusted", help="Decode in a process with limits of memory and time; same bits.")
]
Record = Annotated[
    str | None, typer.Option(metavar="light|standard|forensic", help="How much of each array is recorded.")
]
IdentityKey = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An Ed25519 key (PEM) that signs the record too.")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(metavar="8h30m", help="A cheap mask for every file first, the full ones until time is up."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew where OUT holds an unfinished run; else it goes on.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Show each event as a line of JSON, nothing else.")]
