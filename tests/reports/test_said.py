"""Which sentences each log is given: a rule that fires where it should not, or not where it should, shows here."""

import pytest
from told_logs import corpus

from gpu_nx47 import chance
from gpu_nx47.explain import SECTIONS, _brief, tell

WHOLE = """
brief.done brief.part log.record log.span log.chain run.backend run.settings run.end data.root data.files
data.assets data.types data.folders file.input neuron.features neuron.active neuron.held_out mask.ratios
mask.carried_part mask.evidence count.pixels count.alone rate.global rate.file rate.voxels machine.cpu
machine.memory machine.no_gpu machine.python output.zip output.checked alert.none lacks.unknown lacks.chance
lacks.signature lacks.score why.thresholds why.axis why.no_gpu todo.digest todo.look
gpu.unused slices.density slices.none_empty
"""
"""A whole run, unsigned."""
OLD = """
brief.done brief.no_anchor log.old log.span run.end_old data.files data.assets data.types file.plain
neuron.features neuron.weights mask.ratios mask.no_anchor output.path lacks.stats lacks.throughput
lacks.hardware lacks.anchors lacks.neurons lacks.folders lacks.counts lacks.digests lacks.replay
lacks.signature lacks.score why.spread why.not_measured why.closed_empty why.quantile why.hashes
todo.no_anchor todo.rerun
lacks.gpu lacks.slices
"""
"""V121's run by the seed's facts."""
CHANGES = {
    "signed": (
        "log.signed todo.verify",
        "lacks.signature todo.digest",
    ),
    "alerted": (
        "brief.failed brief.alerts file.failed alert.fired todo.alert todo.failed",
        "alert.none todo.look",
    ),
    "killed": (
        "brief.nothing brief.unfinished run.no_end lacks.metrics lacks.files lacks.stats lacks.throughput "
        "why.killed todo.again",
        "brief.done brief.part run.end neuron.features neuron.active neuron.held_out mask.ratios "
        "mask.carried_part mask.evidence count.pixels count.alone rate.global rate.file rate.voxels "
        "machine.memory output.zip output.checked alert.none lacks.unknown lacks.chance lacks.score "
        "why.thresholds why.axis todo.digest todo.look gpu.unused slices.density slices.none_empty",
    ),
    "cut": (
        "output.none why.cut todo.again",
        "output.zip todo.look",
    ),
    "recovered": (
        "log.recovered",
        "",
    ),
    "recovered and killed": (
        "brief.unfinished log.recovered run.no_end why.killed todo.again",
        "run.end output.zip alert.none todo.digest todo.look",
    ),
    "torn": (
        "brief.unfinished brief.hurt log.unreadable log.torn run.no_end todo.broken todo.again",
        "run.end output.zip alert.none todo.digest todo.look",
    ),
    "flipped": (
        "brief.hurt log.broken todo.broken",
        "log.chain todo.digest todo.look",
    ),
    "twice": (
        "log.runs",
        "",
    ),
    "doubt": (
        "brief.alerts alert.fired count.chance lacks.some_chance todo.alert why.chance",
        "alert.none lacks.chance todo.look",
    ),
    "noise": (
        "brief.within count.chance lacks.some_chance why.chance",
        "lacks.chance",
    ),
    "chance": (
        "brief.above count.chance count.chance_cube lacks.some_chance why.chance",
        "lacks.chance",
    ),
    "sharp": (
        "brief.sharp count.chance lacks.some_chance why.chance",
        "lacks.chance",
    ),
    "blunt": (
        "brief.not_sharp count.chance count.chance_cube lacks.some_chance why.chance",
        "lacks.chance",
    ),
    "calibrated": (
        "brief.most mask.carried_most mask.at_target why.no_axis",
        "brief.part mask.carried_part why.axis",
    ),
    "anchored": (
        "brief.all mask.carried_none",
        "brief.part mask.carried_part",
    ),
    "empty": (
        "brief.no_anchor mask.no_anchor todo.no_anchor",
        "brief.part mask.carried_part",
    ),
    "no share": (
        "brief.count",
        "brief.done mask.ratios",
    ),
    "several": (
        "file.mask file.more neuron.feature_sets",
        "neuron.features why.thresholds",
    ),
    "gpu": (
        "machine.cpus machine.gpus gpu.time gpu.coverage gpu.no_fallback gpu.energy gpu.memory",
        "machine.cpu machine.memory machine.no_gpu machine.python why.no_gpu gpu.unused",
    ),
    "gpu short": (
        "machine.cpus machine.gpus gpu.time gpu.coverage gpu.fallbacks gpu.unknown gpu.memory",
        "machine.cpu machine.memory machine.no_gpu machine.python why.no_gpu gpu.unused",
    ),
    "early": (
        "lacks.gpu lacks.slices",
        "gpu.unused slices.density slices.none_empty",
    ),
    "gaps": (
        "slices.empty slices.dense slices.thin",
        "slices.none_empty",
    ),
    "no slice": (
        "slices.empty",
        "slices.density slices.none_empty",
    ),
    "view": (
        "log.view todo.view",
        "log.record log.chain todo.digest",
    ),
    "V121 list": (
        "run.no_end why.list_early",
        "run.end_old output.path",
    ),
    "V122": (
        "run.settings_old neuron.active mask.at_target count.alone lacks.chance why.fixed",
        "neuron.weights lacks.neurons",
    ),
}
"""What other logs are told beside that, and what not; V12x against OLD, the rest against WHOLE."""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return the names of the rules that each log of the corpus is told by."""
    rules = [rule for section in SECTIONS for rule in section.rules()]
    logs = corpus(tmp_path_factory.mktemp("logs"))
    return {name: {rule.name for rule in rules if rule.said(tell(path))} for name, path in logs.items()}


def test_a_whole_run_and_the_old_one(said):
    assert said["whole"] == set(WHOLE.split())
    assert said["V121"] == set(OLD.split())


@pytest.mark.parametrize("name", CHANGES)
def test_another_log(said, name):
    more, less = (set(words.split()) for words in CHANGES[name])
    usual = set((OLD if name.startswith("V12") else WHOLE).split())
    assert said[name] - usual == more
    assert usual - said[name] == less


def test_no_log_is_left_out(said):
    assert set(said) == {"whole", "V121", *CHANGES}


def test_the_evidence_spoken_of_is_the_nulls():
    assert _brief.EVIDENCE == chance.EVIDENCE
