"""Presets as plain data, there and back."""

import copy
import inspect
import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from torchattn_blocks import (
    CBAM,
    DropBlock2d,
    SpatialAttention,
    UNet,
    attention_unet,
    backbone,
    backbone_dropblock,
    insert_after,
    plain_stage,
    replace,
    rsan,
    sa_unet,
    sd_unet,
    undo,
    unet,
)

PRESETS = [unet, backbone, backbone_dropblock, rsan, sd_unet, sa_unet, attention_unet]
OTHER = {  # none is the default
    "in_channels": 1,
    "out_channels": 2,
    "widths": (4, 6, 8),
    "p": 0.3,
    "block_size": 3,
    "gamma": "exact",
    "scale": "constant",
    "attention": CBAM,
    "up_kernel_size": 4,
    "inplace": True,
    "deep_supervision": 2,
    "memory_efficient": "stages",
    "spatial_dims": 1,
}


def options_of(preset):
    return {name: OTHER[name] for name in inspect.signature(preset).parameters}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.__name__)
def test_a_preset_comes_back_through_json(preset):
    model = preset(**options_of(preset))
    config = model.config()
    assert config["preset"] == preset.__name__
    back = json.loads(json.dumps(config))
    assert back == config
    again = UNet.from_config(back)
    assert again.config() == config
    assert repr(again) == repr(model)
    assert again.deep_supervision == 2
    assert again.memory_efficient == "stages"
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 11)
    torch.testing.assert_close(again.eval()(x), model.eval()(x))


def test_no_option_is_tested_with_its_default():
    for preset in PRESETS:
        for name, parameter in inspect.signature(preset).parameters.items():
            assert OTHER[name] != parameter.default


def test_what_is_left_out_has_its_default():
    assert UNet.from_config({"preset": "rsan"}).config() == rsan().config()
    assert rsan().config()["attention"] == "SpatialAttention"
    assert rsan(attention=None).config()["attention"] is None


def test_numbers_of_numpy_become_plain():
    config = rsan(widths=np.array([4, 8]), p=np.float32(0.5), in_channels=np.int64(1)).config()
    assert json.loads(json.dumps(config)) == config
    assert config["widths"] == [4, 8]


def test_it_outlives_copies_and_pickles():
    model = rsan(widths=(4, 8), p=0.3)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same.config() == model.config()
    held = rsan(widths=(4, 8), attention=lambda channels: SpatialAttention())
    pickle.dumps(held)  # the function is not kept


def test_networks_that_were_pickled_before_there_was_a_config():
    model = rsan(widths=(4, 8))
    state = model.__getstate__()
    for name in ("_recipe", "_deep_supervision", "encoder"):
        del state[name]
    del state["_modules"]["deep_heads"]
    old = UNet.__new__(UNet)
    old.__setstate__(state)
    x = torch.rand(1, 3, 9, 9)
    assert old.train()(x).shape == old.eval()(x).shape == (1, 1, 9, 9)
    assert len(old.deep_heads) == old.deep_supervision == 0
    with pytest.raises(ValueError, match="config: the network must come from a preset"):
        old.config()


def test_memory_efficient_is_what_it_is_now():
    model = unet(widths=(4, 8))
    model.memory_efficient = True
    assert UNet.from_config(model.config()).memory_efficient is True


def test_what_was_changed_since_is_refused():
    model = rsan(widths=(4, 8))
    model = insert_after(model, nn.BatchNorm2d, lambda norm: nn.Dropout2d(0.1))
    with pytest.raises(ValueError, match=r"config: .* the modules that rsan makes, but \d+ differ"):
        model.config()
    assert undo(model).config() == rsan(widths=(4, 8)).config()
    model = replace(backbone_dropblock(widths=(4, 8)), DropBlock2d, lambda drop: nn.Dropout2d(0.1))
    with pytest.raises(ValueError, match=r"such as 'encoders.0.0.drop1'"):
        model.config()


def test_other_options_and_shapes_are_refused():
    model = rsan(widths=(4, 8))
    model.head = nn.Conv2d(4, 5, 1)
    with pytest.raises(ValueError, match="3 differ, such as 'head'"):
        model.config()
    model = rsan(widths=(4, 8))
    model.encoders[0][2].eps = 1e-3
    with pytest.raises(ValueError, match=r"1 differ, such as 'encoders\.0\.2'"):
        model.config()
    model = rsan(widths=(4, 8))
    model.extra = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="1 differ, such as 'extra'"):
        model.config()
    model = rsan(widths=(4, 8))
    model.encoders[0][0].drop1.p = 0.4
    with pytest.raises(ValueError, match=r"1 differ, such as 'encoders\.0\.0\.drop1'"):
        model.config()


def test_what_keeps_the_keys_is_not_a_change():
    model = rsan(widths=(4, 8))
    expected = model.config()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert synchronised.config() == expected
    for module in model.modules():
        if isinstance(module, DropBlock2d):
            module.schedule_p(0.4)
    assert model.double().eval().requires_grad_(False).config() == expected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (UNet(widths=(4, 8), stage=plain_stage()), "the network must come from a preset"),
        (
            rsan(widths=(4, 8), attention=partial(CBAM, reduction=2)),
            "attention must be .* the class of an attention layer .*, got functools.partial",
        ),
        (rsan(widths=(4, 8), attention=lambda c: CBAM(c)), "attention must be .* got <function"),
    ],
)
def test_what_is_no_data_is_refused(model, message):
    with pytest.raises(ValueError, match=f"config: {message}"):
        model.config()


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ("rsan", TypeError, "config must be a Mapping, got str"),
        ({}, ValueError, r"config\['preset'\] must be one of .*'rsan'.*, got None"),
        ({"preset": "resnet"}, ValueError, ".* must be one of .*, got 'resnet'"),
        ({"preset": ["rsan"]}, ValueError, r".* must be one of .*, got \['rsan'\]"),
        ({"preset": "unet", "p": 0.1, "q": 1}, ValueError, "unet takes in_.*, got 'p', 'q'"),
        (
            {"preset": "rsan", "attention": "ReLU"},
            ValueError,
            r"config\['attention'\] must name an attention layer .*, got 'ReLU'",
        ),
        (
            {"preset": "rsan", "attention": "DropBlock2d"},
            ValueError,
            r"config\['attention'\] must name an attention layer .*, got 'DropBlock2d'",
        ),
    ],
)
def test_a_wrong_config_is_refused(config, error, message):
    with pytest.raises(error, match=f"from_config: {message}"):
        UNet.from_config(config)


def test_wrong_options_name_the_preset():
    with pytest.raises(TypeError, match="rsan: got an unexpected keyword argument 'drop'"):
        rsan(drop=0.1)
    with pytest.raises(ValueError, match="p must lie in"):
        UNet.from_config({"preset": "rsan", "p": 2})
