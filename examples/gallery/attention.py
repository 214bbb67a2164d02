"""
Attention in a network that you have
====================================

``insert_after`` puts a layer behind modules of any network, without a change to its code.
"""

# %%
# A small network in plain torch stands for yours.

import torch
from torch import nn

import torchattn_blocks as ta

torch.manual_seed(0)
network = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
    nn.Conv2d(32, 1, 1),
)
image = torch.rand(1, 3, 64, 64)
before = network.eval()(image)

# %%
# ``CBAM`` behind each ``BatchNorm2d``. ``IdentityStart`` lets each start as the identity: the
# network gives the outputs that it gave, until it is trained further.


def attention(norm: nn.Module) -> nn.Module:
    """A layer for the channels of the module that it comes after."""
    return ta.IdentityStart(ta.CBAM(ta.out_channels(norm), reduction=4))


attentive = ta.insert_after(network, nn.BatchNorm2d, attention)
for change in ta.changes(attentive):
    print(change.layer, change.how, change.target)
print("same output:", torch.equal(attentive(image), before))

# %%
# State dicts of the original network still load, and the attention maps have names.

attentive.load_state_dict(network.state_dict())
maps = ta.attention_maps(attentive, image)
for name, weights in maps.items():
    print(name, tuple(weights.shape))

# %%
# Which layers ran, and what fraction dropout layers kept:

attentive = ta.insert_after(attentive, nn.ReLU, lambda relu: ta.DropBlock2d(0.1, block_size=5))
with ta.report(attentive.train()) as used:
    attentive(image)
print(used)

# %%
# What a trained network looks at: the first and the last attention map of the RSAN that finds
# vessels, on the photograph that scikit-image ships (CC0).

import matplotlib.pyplot as plt
from skimage import data, transform

from torchattn_blocks.retina import load_pretrained

photograph = transform.resize(data.retina(), (592, 592), anti_aliasing=True)
model = load_pretrained("drive").model
image = torch.from_numpy(photograph).float().permute(2, 0, 1)[None]
maps = list(ta.attention_maps(model, image).values())

figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for axis, picture in zip(axes, (photograph, maps[0][0, 0], maps[-1][0, 0]), strict=True):
    axis.imshow(picture)
    axis.set_axis_off()
