"""
What DropBlock drops
====================

DropBlock zeroes random blocks of a feature map. Dropout with the same rate zeroes single elements,
which a network restores from their neighbours.
"""

# %%
# The input is a photograph of the retina, which scikit-image ships (CC0), as one channel
# of 176 x 176.

import matplotlib.pyplot as plt
import torch
from skimage import data
from torch.nn import functional as F

from torchattn_blocks import DropBlock2d

green = torch.from_numpy(data.retina()[..., 1].copy())[None, None] / 255
image = F.avg_pool2d(green, 8)

# %%
# ``p`` is the fraction that is dropped, whatever the block size. What is kept is divided by
# ``1 - p``, as ``torch.nn.Dropout`` does. In evaluation the layer returns its input.

torch.manual_seed(0)
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
colours = plt.get_cmap("viridis").with_extremes(bad="white")
for axis, block_size in zip(axes, (1, 7, 15, 31), strict=True):
    layer = DropBlock2d(p=0.15, block_size=block_size)
    kept = layer(torch.ones_like(image)) > 0
    axis.imshow(image.masked_fill(~kept, torch.nan)[0, 0], cmap=colours)
    axis.set_title(f"block_size={block_size}: {1 - kept.float().mean():.1%} dropped", fontsize=10)
    axis.set_axis_off()

# %%
# One feature map has few large blocks, so its fraction varies. On average it is ``p``, also on
# feature maps that are smaller than the block:

for size in (5, 14, 56):
    layer = DropBlock2d(p=0.15, block_size=7)
    dropped = (layer(torch.ones(64, 256, size, size)) == 0).float().mean()
    print(f"{size} x {size}: {dropped:.1%} dropped")

# %%
# A schedule raises the rate while a network trains, without compiling anything again.

from torchattn_blocks import DropSchedule

schedule = DropSchedule(layer, start=0.0, stop=0.15, steps=4)
rates = []
for _ in range(5):
    rates.append(round(layer.p, 4))
    schedule.step()
print(rates)
