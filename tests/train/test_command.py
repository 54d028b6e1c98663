"""`nx47 train` and the options of `nx47 run` that use what it wrote."""

import json

import numpy as np
from labelled import names, read, write

from gpu_nx47.cli import main
from gpu_nx47.model import read_model

WORDS = [
    "--threads", "1", "--set", "neuron.samples=2048", "--set", "neuron.steps=24", "--set", "neuron.l1=0.0001,0.01",
    "--set", "neuron.l2=0.001", "--set", "learning.block=40", "--set", "learning.blocks=4", "--set", "learning.scan=1",
    "--set", "learning.bank=", "--set", "neuron.hidden=",
]  # fmt: skip


def test_it_writes_the_model_and_every_step_beside_it(root, trained, tmp_path, capsys):
    file = tmp_path / "model.json"
    assert main(["train", str(root), "-o", str(file), *WORDS]) == 0
    said = capsys.readouterr().out
    assert "Labelled volumes: 4 seen, 4 to be used." in said
    assert f"model {trained[0].digest[:16]}" in said
    assert read_model(file).digest == trained[0].digest
    lines = [json.loads(line) for line in (tmp_path / "model.json.events.jsonl").read_text().splitlines()]
    told = [line["data"]["step"] for line in lines if line["event"] == "SUPERVISED_TRAIN"]
    assert lines[0]["event"] == "BOOT"
    assert told[0] == "audit"
    assert told[-1] == "model"
    assert told.count("volume") == 4
    assert {"learned", "proof", "scan"} <= set(told)


def test_what_did_not_learn_is_written_and_said(root, tmp_path, capsys):
    there = tmp_path / "root"
    for folder in ("train_images", "train_labels"):
        (there / folder).mkdir(parents=True)
    for number, name in enumerate(names()[:2]):
        (there / "train_images" / f"{name}.tif").symlink_to(root / "train_images" / f"{name}.tif")
        label = read(root / "train_labels" / f"{name}.tif")
        inside = label[3:-3, 3:-3, 3:-3]
        inside[...] = np.random.default_rng(number).permutation(inside.reshape(-1)).reshape(inside.shape)
        write(there / "train_labels" / f"{name}.tif", label)
    assert main(["train", str(there), "-o", str(tmp_path / "model.json"), "--quiet", *WORDS]) == 3
    error = capsys.readouterr().err
    assert "NO_LEARNING" in error
    assert not read_model(tmp_path / "model.json").facts["proof"]["learned"]


def test_without_labels_nothing_is_written(tmp_path, capsys):
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "model.json")]) == 2
    assert "train_images" in capsys.readouterr().err
    assert not (tmp_path / "model.json").exists()


def test_a_folder_that_cannot_be_written_to_is_told_before_the_training(root, tmp_path, capsys):
    assert main(["train", str(root), "-o", str(tmp_path / "none" / "model.json"), *WORDS]) == 4
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_ways_exclude_one_another(root, tmp_path, capsys):
    words = ["run", str(root), "--output", str(tmp_path / "out"), "--train", "--model", "phantoms"]
    assert main(words) == 2
    assert "no model where train is given" in capsys.readouterr().err
