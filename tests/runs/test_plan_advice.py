"""What a plan that does not fit suggests: what applies, and nothing else."""

import dataclasses

from conftest import TINY

from hyperx.runs.planning.advice import Setting, suggestions

GIB = 2**30


def setting(kept, **fields):
    """A run on 8 chips whose parameters and optimizer state take `kept` GiB in all."""

    def per_chip(axes):
        return round(kept * GIB / axes["fsdp"] / axes["model"])

    given = dict(axes={"data": 8, "fsdp": 1, "model": 1}, backbone=TINY)
    given |= dict(conditioned=True, groups=32, rows=1, micro_batches=1)
    return Setting(kept=per_chip, **(given | fields))


def test_batches_are_made_smaller_where_temporaries_are_too_many():
    found = suggestions(setting(1.0), temporary=20 * GIB, hbm=16 * GIB)
    assert [text.partition(":")[0] for text in found[:3]] == [
        "MICRO_BATCHES=2",
        "BATCH_SIZE=16",
        "ROWS=2",
    ]
    assert not any("larger slice" in text for text in found)
    found = suggestions(
        setting(0.1, groups=8, conditioned=False), 20 * GIB, hbm=16 * GIB
    )
    assert found == ["a larger slice: these 8 chips have no place for it"]


def test_remat_is_told_only_where_there_is_less_to_keep():
    loose = dataclasses.replace(TINY, remat="none")
    for backbone, told in ((loose, True), (TINY, False)):
        found = suggestions(setting(0.1, backbone=backbone), 20 * GIB, hbm=16 * GIB)
        assert any(text.startswith('REMAT="full"') for text in found) == told


def test_parameters_are_split_as_far_as_they_must_be():
    found = suggestions(setting(40.0), temporary=0, hbm=16 * GIB)
    assert found == [
        # Four heads and 64 words divide by 4; 40 / 8 GiB is less than half of 16.
        "--mesh=data=2,fsdp=1,model=4 (MODEL_PARALLEL=4): 10.0 GiB of parameters and "
        "optimizer state per chip instead of 40.0",
        "--mesh=data=1,fsdp=8,model=1 (FSDP=8): 5.0 GiB of parameters and optimizer "
        "state per chip instead of 40.0",
    ]
    found = suggestions(setting(1000.0), temporary=9999 * GIB, hbm=16 * GIB)
    assert found[-1].startswith("a larger slice")
    assert not any("BATCH_SIZE" in text for text in found)


def test_decoding_is_told_to_decode_less_at_a_time():
    found = suggestions(
        setting(1.0, micro_batches=None, groups=16, rows=4), 20 * GIB, 16 * GIB
    )
    assert [text.partition(":")[0] for text in found[:2]] == [
        "EVAL_GROUPS=8",
        "EVAL_ROWS=2",
    ]
