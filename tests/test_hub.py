"""Networks in the form of huggingface_hub. Nothing is sent anywhere."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from torchattn_blocks import CBAM, DropBlock2d, SpatialAttention, insert_after, rsan, sa_unet
from torchattn_blocks.hub import HubUNet


def trained(**options):
    """A network with weights and statistics that are not the initial ones."""
    torch.manual_seed(0)
    model = rsan(widths=(4, 8), **options)
    model(torch.rand(2, 3, 16, 16))
    return model


def test_saved_and_loaded_is_the_same(tmp_path):
    model = trained(p=0.3, attention=CBAM, deep_supervision=True)
    HubUNet.from_network(model).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    again = HubUNet.from_pretrained(tmp_path)
    assert not again.training
    assert again.config() == model.config() == json.loads((tmp_path / "config.json").read_text())
    x = torch.rand(1, 3, 21, 30)
    torch.testing.assert_close(again(x), model.eval()(x), rtol=0, atol=0)
    assert {m.p for m in again.modules() if isinstance(m, DropBlock2d)} == {0.3}


def test_the_files_serve_without_the_hub(tmp_path):
    model = trained()
    HubUNet.from_network(model).save_pretrained(tmp_path)
    plain = rsan(widths=(4, 8))
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = torch.rand(1, 3, 21, 30)
    torch.testing.assert_close(plain.eval()(x), model.eval()(x), rtol=0, atol=0)


def test_what_is_saved_is_what_it_is_now(tmp_path):
    model = HubUNet({"preset": "sa_unet", "widths": [4, 8]})
    model.memory_efficient = True
    model.save_pretrained(tmp_path)
    assert HubUNet.from_pretrained(tmp_path).memory_efficient is True


def test_a_function_is_refused_when_it_is_noted():
    model = trained(attention=lambda channels: SpatialAttention(kernel_size=3))
    with pytest.raises(ValueError, match=r"config: attention must be .*, got <function"):
        HubUNet(model.config())


def test_a_changed_network_is_not_saved(tmp_path):
    model = insert_after(
        HubUNet.from_network(trained()), nn.BatchNorm2d, lambda norm: nn.Dropout2d(0.2)
    )
    with pytest.raises(ValueError, match="config: the network must have the modules that rsan"):
        model.save_pretrained(tmp_path / "mine")
    with pytest.raises(ValueError, match="config: the network must have the modules that rsan"):
        model.push_to_hub("me/mine")  # before anything is sent
    assert list(tmp_path.iterdir()) == []
    HubUNet.from_network(trained()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config: "):
        model.save_pretrained(tmp_path)
    assert HubUNet.from_pretrained(tmp_path).config() == trained().config()


@pytest.mark.parametrize(
    "changed",
    [
        {"attention": None},
        {"attention": "SqueezeExcite"},
        {"preset": "backbone_dropblock"},
        {"widths": [4, 16]},
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(changed, tmp_path):
    HubUNet.from_network(trained()).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changed
    if config["preset"] == "backbone_dropblock":
        del config["attention"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match=r"(?i)missing|unexpected|size mismatch"):
        HubUNet.from_pretrained(tmp_path)


def test_weights_that_are_missing_are_refused_unless_asked_for(tmp_path):
    model = trained()
    HubUNet.from_network(model).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["head.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        HubUNet.from_pretrained(tmp_path)
    assert isinstance(HubUNet.from_pretrained(tmp_path, strict=False), HubUNet)


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"HubUNet: .* must have a file config\.json, got none"):
        HubUNet.from_pretrained(tmp_path)


def test_a_copy_keeps_dtype_mode_and_nothing_shared():
    model = trained().double().eval()
    hub = HubUNet.from_network(model)
    assert (hub.head.weight.dtype, hub.training) == (torch.float64, False)
    before = model.head.weight.detach().clone()
    hub.head.weight.data.zero_()
    assert torch.equal(model.head.weight, before)
    assert hub.head.weight.requires_grad
    with pytest.raises(TypeError, match="from_network: network must be a UNet, got Conv2d"):
        HubUNet.from_network(nn.Conv2d(1, 1, 1))


def test_copies_and_pickles_are_of_the_same_class():
    model = HubUNet.from_network(trained())
    for same in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        HubUNet.from_config(model.config()),
    ):
        assert type(same) is HubUNet
        assert same.config() == model.config()
    with pytest.raises(ValueError, match=r"from_config: .* must be one of"):
        HubUNet({"preset": "none"})
    with pytest.raises(TypeError, match="from_config: config must be a Mapping, got str"):
        HubUNet("rsan")


def test_the_default_of_a_preset_may_change(tmp_path):
    """All arguments are written, not only those that were given."""
    HubUNet({"preset": "sa_unet"}).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == sa_unet().config()


def test_without_the_library_the_extra_is_named():
    code = "import sys; sys.modules['huggingface_hub'] = None; import torchattn_blocks.hub"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "of the extra [hub]" in done.stderr
    assert "pip install '.[hub]'" in done.stderr
