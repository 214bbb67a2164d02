"""Two processes: the masks of DropBlock, which decide whether they see other parts of a batch, and
networks whose weights are shared out."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
from torch.distributed.tensor.experimental import local_map
from torch.nn.parallel import DistributedDataParallel

from torchattn_blocks import DropBlock2d, SqueezeExcite, UNet, insert_after, plain_stage, rsan


def train_a_step(rank, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    torch.manual_seed(0)  # the same weights
    model = nn.Sequential(nn.Conv2d(1, 4, 1), DropBlock2d(0.3, 3))
    insert_after(model, "1", lambda drop: SqueezeExcite(4), inplace=True)
    parallel = DistributedDataParallel(model)
    found = {}
    for name, seed in {"seeded alike": 0, "seeded by rank": rank}.items():
        torch.manual_seed(seed)
        y = parallel(torch.ones(2, 1, 20, 20))
        y.sum().backward()
        found[name] = y.detach() == 0
    found["gradient"] = torch.cat([p.grad.flatten() for p in model.parameters()])
    mesh = init_device_mesh("cpu", (2,))
    x = distribute_tensor(torch.ones(4, 3, 20, 20), mesh, [Shard(0)])
    layer = DropBlock2d(0.3, 3)
    found["sharded"] = (local_map(layer, list(x.placements))(x).to_local() == 0).clone()
    found["sharded weights"] = {name: sharded_gradients(make()) for name, make in NETWORKS.items()}
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


class Scaled(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return torch.mul(x, self.scale.view(-1, 1, 1))


group_stage = plain_stage(norm=partial(nn.GroupNorm, 1), activation=nn.PReLU, attention=Scaled)
NETWORKS = {
    "rsan": partial(rsan, widths=(4, 8)),
    "others": partial(UNet, 3, 1, widths=(4, 8), stage=group_stage),
}


def sharded_gradients(model):
    """The gradients of this process in training and in evaluation, for each `memory_efficient`."""
    for x in model.parameters():
        nn.init.normal_(x, std=0.3)
    x = torch.randn(2, 3, 16, 16)
    found = {}
    for training in (True, False):
        for setting in (False, "activations", True, "stages"):
            sharded = copy.deepcopy(model).train(training)
            sharded.memory_efficient = setting
            for module in list(sharded.modules()):
                if not [*module.children()] and [*module.parameters()]:
                    fully_shard(module)  # its weights have memory only while it runs
            fully_shard(sharded)
            torch.manual_seed(0)
            sharded(x).square().mean().backward()
            gradients = [p.grad.to_local().flatten() for p in sharded.parameters()]
            found[training, setting] = torch.cat(gradients)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(train_a_step, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", ["seeded by rank", "sharded"])
def test_processes_with_seeds_of_their_own_drop_other_blocks(ranks, name):
    first, second = (found[name] for found in ranks)
    assert first.shape == second.shape
    assert first.any()
    assert not torch.equal(first, second)


def test_processes_seeded_alike_drop_the_same_blocks_as_with_torchs_dropout(ranks):
    assert torch.equal(*(found["seeded alike"] for found in ranks))


def test_gradients_are_averaged(ranks):
    assert torch.equal(*(found["gradient"] for found in ranks))
    assert len(ranks[0]["gradient"]) == 8 + 4 + 1 + 4 + 4  # also of the inserted layer
    assert ranks[0]["gradient"].isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("setting", ["activations", True, "stages"])
def test_networks_with_shared_out_weights_may_keep_less(ranks, setting, training, name):
    for found in ranks:
        gradients = found["sharded weights"][name]
        assert gradients[training, False].any()
        assert torch.equal(gradients[training, setting], gradients[training, False])
