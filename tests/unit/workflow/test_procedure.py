"""Which steps a procedure adds to the paper's."""

import copy

import pytest
import yaml
from checkout import PROJECT

from stablequant.workflow.config_schema import validate_config
from stablequant.workflow.procedure import (
    Attention,
    Combination,
    Equalisation,
    MassiveChannels,
    Procedure,
    Rounding,
    Ties,
    read_procedure,
)

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
STEPS = ("recentre", "split_audio", "equalisation", "massive_channels", "attention", "rounding", "combination", "ties")
EXTENDED = Procedure(
    recentre=True,
    split_audio=True,
    equalisation=Equalisation(exponent=0.5, percentile=99.0, audio_seconds=7),
    massive_channels=MassiveChannels(channels=[2, 3], reach=5.0, divergence=0.01, gain=0.6, audio_seconds=6),
    attention=Attention(divergence=0.02, audio_seconds=5),
    rounding=Rounding(audio_seconds=8),
    combination=Combination(audio_seconds=9, suspects=2),
    ties=Ties(points=0.3),
)


def config(*enabled: str) -> dict:
    """A valid config with settings of its own, in which these steps are enabled and the others are not."""
    changed = copy.deepcopy(CONFIG)
    changed["equalisation"] |= {"exponent": 0.5, "percentile": 99.0, "audio_seconds": 7}
    own = {"channels": [2, 3], "reach": 5.0, "divergence": 0.01, "gain": 0.6, "audio_seconds": 6}
    changed["massive_channels"] |= own
    changed["attention"] |= {"divergence": 0.02, "audio_seconds": 5}
    changed["rounding"] |= {"audio_seconds": 8}
    changed["combination"] |= {"audio_seconds": 9, "suspects": 2}
    changed["ties"] |= {"points": 0.3}
    for step in STEPS:
        changed[step]["enabled"] = step in enabled
    validate_config(changed, PROJECT / "config.schema.yaml")
    return changed


@pytest.mark.parametrize("enabled", [(), STEPS, ("recentre",), ("rounding", "combination")])
def test_the_papers_procedure_has_no_added_step_whatever_the_blocks_say(enabled):
    found = read_procedure(config(*enabled), "paper")
    steps = dict.fromkeys(("equalisation", "massive_channels", "attention", "rounding", "combination", "ties"))
    assert found == Procedure(recentre=False, split_audio=False, **steps)


def test_the_extended_procedure_has_every_step_that_is_enabled():
    assert read_procedure(config(*STEPS), "extended") == EXTENDED


def test_the_extended_procedure_without_an_enabled_step_is_the_papers():
    assert read_procedure(config(), "extended") == Procedure()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_not_enabled_is_missing_and_the_others_are_there(step):
    found = read_procedure(config(*(other for other in STEPS if other != step)), "extended")
    for other in STEPS:
        expected = getattr(EXTENDED, other) if other != step else getattr(Procedure(), other)
        assert getattr(found, other) == expected
    assert not getattr(found, step)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_alone_is_enabled_stands_alone(step):
    found = read_procedure(config(step), "extended")
    for other in STEPS:
        assert getattr(found, other) == getattr(EXTENDED if other == step else Procedure(), other)


def test_the_config_is_left_as_it_is():
    given = config(*STEPS)
    before = copy.deepcopy(given)
    read_procedure(given, "extended")
    read_procedure(given, "paper")
    assert given == before
