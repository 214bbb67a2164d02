"""What a block of code finds as it was before."""

import pytest
import torch
from torch import nn

from torchattn_blocks._restored import in_evaluation, modes_restored, own_random_numbers


class Odd(nn.Module):
    """A module that does more than to set modes."""

    def train(self, mode=True):
        raise AssertionError("it must not be called")


def net():
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout(), Odd()))
    net[0].training = net[1][1].training = False
    return net


def modes(net):
    return [module.training for module in net.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_modes(fails):
    one = net()
    before = modes(one)
    for manager, inside in ((modes_restored, before), (in_evaluation, [False] * 5)):
        try:
            with manager(one):
                assert modes(one) == inside
                one.training, one[0].training = False, True
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            assert fails
        assert modes(one) == before


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_random_numbers(device):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with own_random_numbers(torch.device(device)):
        torch.manual_seed(5)
        torch.rand(3)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
def test_random_numbers_on_cuda():
    torch.manual_seed(0)
    expected = torch.rand(2), torch.rand(2, device="cuda")
    torch.manual_seed(0)
    with own_random_numbers(torch.device("cuda")):
        torch.manual_seed(5)
        torch.rand(3, device="cuda")
    found = torch.rand(2), torch.rand(2, device="cuda")
    assert all(map(torch.equal, found, expected))
