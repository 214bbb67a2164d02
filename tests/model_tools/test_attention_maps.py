"""The attention maps of a whole model, collected and drawn."""

import pytest
import torch
from PIL import Image
from torch import nn

from torchattn_blocks import (
    CBAM,
    AttentionGate,
    GlobalContext,
    SpatialAttention,
    SqueezeExcite,
    attention_maps,
    rsan,
    save_attention_maps,
)
from torchattn_blocks.model_tools.figure import _short


def image(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape or (2, 3, 12, 10), generator=generator)


class GatedByItself(nn.Module):
    """An attention gate as a layer of one input, whose gate has other sizes than its skip."""

    def __init__(self):
        super().__init__()
        self.gate = AttentionGate(3, 3)

    def forward(self, x):
        return self.gate(x[..., ::2], x)


class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x))


def test_maps_are_those_of_the_forward_pass():
    model = nn.Sequential(SqueezeExcite(3), nn.Conv2d(3, 4, 3), SpatialAttention()).eval()
    x = image()
    maps = attention_maps(model, x)
    assert list(maps) == ["0", "2"]
    middle = model[1](x * maps["0"])
    torch.testing.assert_close(model(x), middle * maps["2"])
    assert not any(m.requires_grad for m in maps.values())


def test_every_layer_of_a_network_is_named():
    model = rsan(widths=(4, 6, 8)).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    maps = attention_maps(model, image(1, 3, 20, 16))
    assert [(name, tuple(m.shape[1:])) for name, m in maps.items()] == [
        ("encoders.0.1.attention", (1, 20, 16)),
        ("encoders.1.1.attention", (1, 10, 8)),
        ("bottleneck.1.attention", (1, 5, 4)),
        ("decoders.0.1.attention", (1, 10, 8)),
        ("decoders.1.1.attention", (1, 20, 16)),
    ]
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_cbam_and_layers_that_are_called_again():
    layer = CBAM(3).eval()
    maps = attention_maps(Twice(layer), image())
    names = ["layer", "layer.channel", "layer.spatial"]
    assert list(maps) == names + [f"{name}#2" for name in names]
    torch.testing.assert_close(maps["layer"], maps["layer.channel"] * maps["layer.spatial"])
    torch.testing.assert_close(maps["layer#2"], layer.attention_map(layer(image())))


def test_gates_compiled_models_and_the_layer_itself():
    assert attention_maps(GatedByItself(), image())["gate"].shape == (2, 1, 12, 10)
    assert list(attention_maps(SpatialAttention(), image())) == [""]
    compiled = torch.compile(nn.Sequential(SpatialAttention()), backend="aot_eager")
    compiled(image())
    assert list(attention_maps(compiled, image())) == ["0"]
    inner = nn.Sequential(compiled)
    assert list(attention_maps(inner, image())) == ["0._orig_mod.0"]


class WritesIntoItsInput(nn.Module):
    """A layer of a user's, with an inner one."""

    def __init__(self):
        super().__init__()
        self.inner = SpatialAttention()

    def attention_map(self, x):
        return 1 - self.inner(x)

    def forward(self, x):
        return x.mul_(self.attention_map(x))


def test_layers_of_ones_own():
    layer, x = WritesIntoItsInput(), image()
    expected = layer.attention_map(x)
    maps = attention_maps(layer, x=x.clone())
    assert list(maps) == ["", "inner"]
    torch.testing.assert_close(maps[""], expected)
    torch.testing.assert_close(maps["inner"], layer.inner.attention_map(x))


def test_a_child_of_that_name_is_no_layer():
    model = nn.Sequential(SqueezeExcite(3))
    model.attention_map = nn.Identity()
    assert list(attention_maps(model, image())) == ["0"]


def test_a_compiled_layer_is_listed_once():
    model = nn.Sequential(torch.compile(SpatialAttention(), backend="aot_eager"))
    assert list(attention_maps(model, image())) == ["0._orig_mod"]


def test_an_error_leaves_the_model_as_it_was():
    model = nn.Sequential(SpatialAttention(), nn.Conv2d(5, 1, 1))
    with pytest.raises(RuntimeError, match="channels"):
        attention_maps(model, image())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_models_without_attention_are_refused():
    with pytest.raises(ValueError, match="attention_maps: model must call a layer that has"):
        attention_maps(nn.Conv2d(3, 3, 1), image())
    with pytest.raises(TypeError, match="attention_maps: model must be a Module, got function"):
        attention_maps(lambda x: x, image())


@pytest.mark.parametrize(("columns", "grid"), [(1, (1, 4)), (3, (3, 2)), (9, (4, 1))])
def test_the_figure_has_a_panel_for_each_map(tmp_path, columns, grid):
    x = torch.rand(2, 3, 16, 16)
    maps = attention_maps(CBAM(3), x)
    path = tmp_path / "maps.png"
    save_attention_maps(path, maps, image=x[1], sample=1, columns=columns)
    with Image.open(path) as drawn:
        assert (drawn.width / 352, drawn.height / 352) == grid


def test_other_dimensions_are_drawn(tmp_path):
    for name, attention in {
        "line": torch.rand(1, 1, 9),
        "volume": torch.rand(1, 2, 5, 6, 7),
        "channels": torch.rand(1, 8, 1, 1, 1),
    }.items():
        save_attention_maps(tmp_path / f"{name}.png", {name: attention})
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def drawn(tmp_path, attention, **options):
    save_attention_maps(tmp_path / "maps.png", {"a": attention}, **options)
    return (tmp_path / "maps.png").read_bytes()


def test_the_sample_the_mean_and_the_middle_are_drawn(tmp_path):
    volume = torch.rand(2, 3, 5, 6, 7) * 0.5 + 0.2
    volume[:, :, 2, 0, 0], volume[:, :, 2, 0, 1] = 0.0, 1.0  # the range, which the title states
    slices = volume[:, :, 2]
    first, second = (drawn(tmp_path, slices, sample=n) for n in (0, 1))
    assert first != second
    assert drawn(tmp_path, slices[1:]) == second
    assert drawn(tmp_path, slices[1:].mean(1, keepdim=True)) == second
    assert drawn(tmp_path, volume, sample=1) == second


def test_maps_and_images_of_any_dtype(tmp_path):
    maps = {"a": torch.rand(1, 1, 1, 1).bfloat16(), "b": torch.rand(1, 3, 4, 4).half() - 0.5}
    save_attention_maps(tmp_path / "maps.png", maps, image=torch.rand(1, 5, 5).bfloat16())
    for wrong in ({"maps": maps["a"]}, {"maps": {"a": 3}}, {"image": [[1.0]]}):
        with pytest.raises(TypeError, match=r"save_attention_maps: (maps|image).* must be a "):
            save_attention_maps(tmp_path / "maps.png", **{"maps": maps, **wrong})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": {}}, "maps must hold a map, got none"),
        ({"sample": 1}, r"sample must be below .* maps\['a'\], 1, got 1"),
        ({"columns": 0}, "columns must be at least 1, got 0"),
        ({"maps": {"a": torch.rand(4, 4)}}, r"maps\['a'\] must have shape .*, got \(4, 4\)"),
        ({"maps": {"a": torch.rand(1, 0, 4)}}, r"maps\['a'\] must have .*, got \(1, 0, 4\)"),
        ({"image": torch.rand(2, 5, 5)}, r"image must have shape .*, got \(2, 5, 5\)"),
        ({"image": torch.full((1, 5, 5), 255)}, "image must have values from 0 to 1, got 255 to"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, options, message):
    arguments = {"maps": {"a": torch.rand(1, 1, 4, 4)}, **options}
    with pytest.raises(ValueError, match=f"save_attention_maps: {message}"):
        save_attention_maps(tmp_path / "maps.png", **arguments)


@pytest.mark.parametrize(
    ("weight", "written"),
    [(0.0, "0.00"), (0.5, "0.50"), (1.742, "1.74"), (2.4e-4, "2.4e-04"), (-3e-3, "-3.0e-03")],
)
def test_small_weights_are_not_written_as_zero(weight, written):
    assert _short(torch.tensor(weight)) == written


def test_an_error_in_a_map_names_the_layer():
    model = nn.Sequential(nn.Identity(), CBAM(3, channel=GlobalContext))
    with pytest.raises(TypeError, match="CBAM: for attention_map") as caught:
        attention_maps(model, image())
    assert caught.value.__notes__ == ["attention_maps: raised by the layer '1'"]
