"""Weights files: they come back as they went, and what is wrong with one is said."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from torchattn_blocks.retina import (
    Network,
    Settings,
    load_pretrained,
    load_weights,
    save_weights,
)
from torchattn_blocks.retina.weights import named_weights

SMALL = Network("backbone_dropblock", widths=(4, 8), up_kernel_size=3, p=0.3, block_size=5)
SETTINGS = Settings(SMALL, fov_diameter=99.5, side=64, about={"dataset": "none", "epoch": 3})


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    model = SMALL.build().to(memory_format=torch.channels_last)
    path = tmp_path / "mine.safetensors"
    save_weights(path, model, SETTINGS)
    return path, model


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_round_trip(file, kind):
    path, model = file
    trained = load_weights(kind(path))
    assert trained.settings == SETTINGS
    assert not any(module.training for module in trained.model.modules())
    x = torch.rand(1, 3, 20, 24)
    assert torch.equal(trained.model(x), model.eval().to(memory_format=torch.contiguous_format)(x))
    assert {m.p for m in trained.model.modules() if hasattr(m, "p")} == {0.3}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_others_may_read_the_file(file):
    path, _ = file
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_any_reader_of_safetensors_gets_the_state_dict(file):
    path, model = file
    assert load_file(path).keys() == model.state_dict().keys()


def test_an_unknown_name(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of chase_db1, .*drive, got 'nobody'"):
        load_pretrained("nobody")
    with pytest.raises(
        FileNotFoundError, match=r"nobody: this weights file does not exist; .* drive"
    ):
        named_weights("nobody")
    with pytest.raises(FileNotFoundError, match="this weights file does not exist"):
        load_weights(tmp_path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("run").write_text, ("ran",))

    torch.save({"model": Bomb()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt: not a safetensors file"):
        load_weights(tmp_path / "weights.pt")
    assert not (tmp_path / "run").exists()


def test_a_truncated_file(file):
    path, _ = file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"mine\.safetensors: not a safetensors file"):
        load_weights(path)


def test_bare_weights_say_nothing_of_their_network(file):
    path, model = file
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    with pytest.raises(ValueError, match=r"mine\.safetensors: the file has no settings"):
        load_weights(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("network"),
        lambda said: said.pop("fov_diameter"),
        lambda said: said.update(more=1),
        lambda said: said["network"].update(model="resnet"),
        lambda said: said["network"].update(widths=[4, 16]),
        lambda said: said["network"].update(widths=None),
        lambda said: said["network"].update(p=2.0),
        lambda said: said["network"].update(more=1),
    ],
)
def test_settings_that_do_not_fit(file, change):
    path, _ = file
    said = json.loads(json.dumps(asdict(SETTINGS)))
    change(said)
    save_file(load_file(path), path, {"settings": json.dumps(said)})
    with pytest.raises(ValueError, match=r"mine\.safetensors: its settings do not fit its weights"):
        load_weights(path)


@pytest.mark.parametrize("said", ["{", "[]", "null", '{"network": 3, "fov_diameter": 1}'])
def test_settings_that_are_none(file, said):
    path, _ = file
    save_file(load_file(path), path, {"settings": said})
    with pytest.raises(ValueError, match=r"mine\.safetensors: its settings do not fit its weights"):
        load_weights(path)


@pytest.mark.parametrize("model", ["rsan", "backbone_dropblock", "backbone", "unet"])
def test_every_network_is_built_with_its_arguments(model):
    parameters = {"rsan": 997_269, "backbone_dropblock": 996_583, "backbone": 996_583}
    built = Network(model, p=0.4, block_size=3).build()
    dropping = [m for m in built.modules() if hasattr(m, "p")]
    assert bool(dropping) == (model in ("rsan", "backbone_dropblock"))
    assert {(m.p, m.block_size) for m in dropping} <= {(0.4, (3, 3))}
    count = sum(w.numel() for w in built.parameters())
    assert count == parameters.get(model, count)
    wider = Network(model, widths=(4, 8), up_kernel_size=3).build()
    assert wider.ups[0].kernel_size == (3, 3)
    assert wider.ups[0].out_channels == 4


def test_an_unknown_network():
    with pytest.raises(ValueError, match=r"model must be one of \('rsan', .*, got 'resnet'"):
        Network("resnet").build()


@pytest.mark.parametrize("other", [Network("unet", widths=(4, 8)), Network(widths=(4, 16))])
def test_what_could_not_be_loaded_is_not_written(tmp_path, other):
    settings = Settings(other, fov_diameter=60)
    with pytest.raises(ValueError, match=r"^save_weights: network must describe model, got "):
        save_weights(tmp_path / "w.safetensors", SMALL.build(), settings)
    assert not list(tmp_path.iterdir())
