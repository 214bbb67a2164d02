"""What is checked of every host. A check raises if it fails, else it returns "yes" or "neither".

"neither" says that a tool refuses the original network as well.
"""

import copy
import pickle
import tempfile
import warnings
from collections.abc import Callable

import torch
from hosts import Case, image, original
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from torchattn_blocks import IdentityStart, changes, report, undo
from torchattn_blocks.surgery.listing import Change

Tool = Callable[[nn.Module, Tensor], Callable[[Tensor], object]]


def listed(model: nn.Module) -> list[Change]:
    found = changes(model)
    assert found
    return found


def tensors(output: object) -> list[Tensor]:
    """The tensors of an output, which may be a list of feature maps."""
    return [output] if isinstance(output, Tensor) else list(output)


def training(case: Case, seed: int = 0) -> nn.Module:
    """The changed network in training mode, its attention in full effect."""
    model = case.changed(original(case, seed)).train()
    for module in model.modules():
        if isinstance(module, IdentityStart):
            nn.init.ones_(module.alpha)
    return model


def seeded(model: Callable[[Tensor], object], x: Tensor) -> list[Tensor]:
    """Outputs for random numbers that are always the same."""
    torch.manual_seed(2)
    return [tensor.detach().clone() for tensor in tensors(model(x))]


def same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def loads(case: Case) -> str:
    """The original's state dict loads strictly, and comes back after `undo`."""
    first = original(case)
    model = case.changed(original(case, seed=1))
    assert {key for change in listed(model) for key in change.keys} <= model.state_dict().keys()
    model.load_state_dict(first.state_dict())
    same(seeded(model, image(case)), seeded(first, image(case)))
    back = undo(model).state_dict()
    assert list(back) == list(first.state_dict())
    same(list(back.values()), list(first.state_dict().values()))
    return "yes"


def equal_at_step_0(case: Case) -> str:
    """In evaluation DropBlock is off, and attention starts as the identity."""
    first, x = original(case), image(case)
    same(seeded(case.changed(first), x), seeded(first, x))
    return "yes"


def three_steps(case: Case) -> str:
    """The network trains, all layers run, and all weights of attention move."""
    model, x = case.changed(original(case)).train(), image(case)
    added = {key for change in listed(model) for key in change.keys}
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with report(model) as used:
        for _ in range(3):
            optimizer.zero_grad()
            loss = torch.stack([y.square().mean() for y in tensors(model(x))]).sum()
            assert loss.isfinite()
            loss.backward()
            optimizer.step()
    for change in listed(model):
        uses = [use for use in used.layers if f"{use.name}.".startswith(f"{change.name}.")]
        assert uses, change.name
        assert all(use.calls == 3 and use.fired for use in uses), change.name
    still = [
        key for key, p in model.named_parameters() if key in added and torch.equal(p, before[key])
    ]
    assert still == []
    return "yes"


def copied(case: Case) -> str:
    """A deep copy and a pickle compute the same, random masks and all."""
    model, x = training(case), image(case)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = seeded(model, x)
    for other in others:
        assert changes(other) == changes(model)
        same(seeded(other, x), expected)
    return "yes"


def works(case: Case, tool: Tool) -> str:
    """A tool gives what the network gives, unless it refuses the original, too."""
    x = image(case)
    error = failure(training(case), x, tool)
    if error is None:
        return "yes"
    of_original = failure(original(case).train(), x, tool)
    if type(of_original) is not type(error) or first_line(of_original) != first_line(error):
        raise error
    return "neither"


def first_line(error: Exception | None) -> str:
    return str(error).partition("\n")[0]


def failure(model: nn.Module, x: Tensor, tool: Tool) -> Exception | None:
    try:
        compare(model, x, tool)
    except Exception as error:
        return error
    return None


def compare(model: nn.Module, x: Tensor, tool: Tool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of tools about other libraries' code
        expected = seeded(copy.deepcopy(model), x)
        found = seeded(tool(model, x), x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def compiled(case: Case) -> str:
    torch.compiler.reset()
    return works(case, lambda m, x: torch.compile(m, fullgraph=True, backend="aot_eager"))


def exported(case: Case) -> str:
    return works(case, lambda m, x: torch.export.export(m, (x,)).module())


def traced(case: Case) -> str:
    return works(case, lambda m, x: torch.fx.symbolic_trace(m))


def step(model: nn.Module, x: Tensor) -> None:
    torch.manual_seed(2)
    torch.stack([y.square().mean() for y in tensors(model(x))]).sum().backward()


def distributed(case: Case) -> str:
    """A training step under DistributedDataParallel has the gradients of the network alone."""
    alone, model, x = training(case), training(case), image(case)
    step(alone, x)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of ConvNeXt's depthwise convolutions, also without our layers.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        store = f"file://{folder}/store"
        torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
        try:
            step(DistributedDataParallel(model), x)
        finally:
            torch.distributed.destroy_process_group()
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    return "yes"


def undone(case: Case) -> str:
    """Without the layers it is the network that it was."""
    first, x = original(case), image(case)
    back = undo(case.changed(first))
    assert changes(back) == []
    assert repr(back) == repr(first)
    assert back.state_dict().keys() == first.state_dict().keys()
    same(seeded(back, x), seeded(first, x))
    same(seeded(back.train(), x), seeded(first.train(), x))
    return "yes"


CHECKS = {
    "state dicts load": loads,
    "equal at step 0": equal_at_step_0,
    "three steps": three_steps,
    "copy, pickle": copied,
    "compile, fullgraph": compiled,
    "export": exported,
    "FX": traced,
    "DDP, one process": distributed,
    "undone": undone,
}
