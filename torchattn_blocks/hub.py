"""Networks of presets on the Hugging Face Hub or in a folder: ``pip install '.[hub]'``.

`torchattn_blocks` itself does not import this module.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from huggingface_hub import PyTorchModelHubMixin
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"torchattn_blocks.hub needs {error.name}, of the extra [hub]. In a clone of the "
        "repository: pip install '.[hub]'",
        name=error.name,
    ) from error

from ._check import check_kind
from .models import UNet
from .models._config import read_config

__all__ = ["HubUNet"]


class HubUNet(
    UNet,
    PyTorchModelHubMixin,
    library_name="torchattn_blocks",
    pipeline_tag="image-segmentation",
    tags=["pytorch", "unet"],
):
    """A network of a preset that `huggingface_hub` can save, publish and load.

    It has `save_pretrained`, `push_to_hub` and `from_pretrained` of
    ``huggingface_hub.PyTorchModelHubMixin``. The file ``config.json`` holds what `UNet.config`
    returns, ``model.safetensors`` the state dict, with the keys of any `UNet`. Nothing in the files
    is executed. `from_pretrained` returns a network in evaluation mode.

    The mixin itself records the default of an argument that JSON cannot hold, and accepts missing
    or left-over weights. In both cases it silently loads another network. Here, saving or
    publishing with such an argument raises an error, and so does loading such weights, unless you
    pass ``strict=False`` to `from_pretrained`.

    Args:
        config: The result of `UNet.config`, or the name of a preset as ``"preset"`` and its
            arguments that differ from the defaults.

    Raises:
        TypeError: If `config` is not a mapping.
        ValueError: If the preset is unknown or does not take an argument; and, when you save or
            publish the network, as in `UNet.config`.
        RuntimeError: If you load weights that do not fit the file ``config.json``.

    Example:
        >>> import tempfile
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.hub import HubUNet
        >>> trained = rsan(widths=(4, 8), p=0.2)
        >>> model = HubUNet.from_network(trained)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     again = HubUNet.from_pretrained(folder)
        Loading weights from local directory
        >>> again.config() == trained.config()
        True
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        arguments, recipe = read_config(config)
        super().__init__(**arguments)
        self._recipe = recipe

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "HubUNet":
        """Build a network from the result of `config`, with new weights."""
        return cls(config)

    @classmethod
    def from_network(cls, network: UNet) -> "HubUNet":
        """Copy a network of a preset, with its weights, dtype, device and mode.

        Raises:
            TypeError: If `network` is not a `UNet`.
            ValueError: As in `UNet.config`.
        """
        check_kind("from_network", UNet, network=network)
        model = cls(network.config())
        copies = {key: value.detach().clone() for key, value in network.state_dict().items()}
        model.load_state_dict(copies, assign=True)
        return model.train(network.training)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``config.json``, ``model.safetensors`` and a card to a folder.

        Args:
            save_directory: The folder; it is created if needed.
            **options: See ``huggingface_hub.PyTorchModelHubMixin``.
        """
        self.config()  # before creating a folder
        return super().save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the same files on the Hub, or share them with people that you choose.

        Args:
            repo_id: Name of the repository, such as ``"me/vessels"``.
            **options: See ``huggingface_hub.PyTorchModelHubMixin``.
        """
        self.config()  # before creating a repository
        return super().push_to_hub(repo_id, **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, strict: bool = True, **options: Any) -> "HubUNet":
        """Load the network. The mixin before version 1 left it in training mode."""
        if "config" not in options:
            raise ValueError(f"HubUNet: {model_id} must have a file config.json, got none")
        model: HubUNet = super()._from_pretrained(model_id=model_id, strict=strict, **options)
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the weights and the current config, which may differ from the original one.

        The mixin calls this, and writes its own config if it finds none.
        """
        config = json.dumps(self.config(), indent=2)
        super()._save_pretrained(save_directory)
        Path(save_directory, "config.json").write_text(f"{config}\n", encoding="utf-8")
