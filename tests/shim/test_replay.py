"""A run of the law, computed again by the GPU's code: every array, fingerprint and mask is equal."""

from gpu_nx47 import phantom, pipeline
from gpu_nx47.audit import replay
from gpu_nx47.settings import FIRST_SIX, FeatureSettings, NeuronSettings, Settings

QUICK = Settings(
    features=FeatureSettings(bank=FIRST_SIX, top_k=2),
    neuron=NeuronSettings(samples=512, steps=5, l1=(1e-3,), l2=(1e-3,)),
    overlays=0,
    threads=1,
    backend="law",
)


def test_a_run_of_the_law_is_replayed_on_the_device(device, tmp_path):
    phantom.write_phantom_root(tmp_path / "root", size=32, seeds=[8], train_seeds=[])
    assert pipeline.run(tmp_path / "root", tmp_path / "out", QUICK).exit_code == 0
    said = []
    machine = replay.Machine("gpu", (16, 20, 32), 1)
    assert replay.replay_record(tmp_path / "out", tmp_path / "root", machine, lambda every: every, said.append) == 0
    assert (said[0], said[-1]) == ("Computing 1 of 1 volumes on gpu.", "equal: 1 of 1 volumes computed again")
