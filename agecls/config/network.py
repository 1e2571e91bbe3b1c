"""Settings of the network and of the weights it starts from."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agecls.architectures import ARCHITECTURES, OWN_SETTINGS, NetworkName, takers
from agecls.config.section import Fraction, Positive, Section


class NetworkConfig(Section):
    """Architecture and input; settings left out take the defaults of the network."""

    name: NetworkName = "agecnn"
    """Architecture; agecls models lists them."""
    image_size: Annotated[int, Field(ge=16, le=512)] = 224
    """Side of the input in pixels; left out, the one the network is made for."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    layers: Annotated[int, Field(ge=1, le=5)] | None = None
    """Number of convolutions of agecnn; each halves the side and doubles the features."""
    features: Annotated[int, Field(ge=1, le=512)] | None = None
    """Feature maps of agecnn's first convolution."""
    hidden: Annotated[int, Field(ge=0, le=8192)] = 132
    """Neurons of a hidden layer between features and output; 0 for none."""
    hidden_layers: Annotated[int, Field(ge=1, le=4)] = 1
    """How many of them, one after another."""
    dropout: Fraction = 0.6
    """Share of hidden neurons, or of features where none are hidden, dropped before the next layer."""
    bayesian: Literal["none", "half", "full"] = "none"
    """Last layer of uncertain weights (Blundell 2015): full for all outputs; half for those of the first task, or of
    two_branch's deeper branch, alone. evaluate answers by their means, and with --mc-dropout by drawn ones."""
    prior: Positive = 1.0
    """Deviation of the normal distribution about 0 that uncertain weights are pulled to."""
    input_norm: bool | None = None
    """Whether agecnn's input passes a batch norm of its own."""
    branch: Literal["age", "gender", "both"] | None = None
    """Which of two_branch's branches answers: the deeper one, made for age; the one for gender; or, for --task
    multitask, both: gender from its own, all else from the deeper one."""

    @model_validator(mode="before")
    @classmethod
    def _takes_the_defaults_of_its_network(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = ARCHITECTURES.get(given.get("name", "agecnn")) if isinstance(given.get("name", ""), str) else None
        missing = {key: value for key, value in known.defaults.items() if given.get(key) is None} if known else {}
        return {**given, **missing}

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "NetworkConfig":
        own = ARCHITECTURES[self.name].own
        for name in OWN_SETTINGS:
            if name not in own and getattr(self, name) is not None:
                raise ValueError(f"{self.name} takes no {name}; it belongs to {', '.join(takers(name))}")
        if self.bayesian == "none" and self.prior != type(self).model_fields["prior"].default:
            raise ValueError("prior belongs to bayesian=half or full")
        if self.layers is not None and self.image_size >> self.layers < 1:
            raise ValueError(f"image_size {self.image_size} does not survive {self.layers} poolings by 2")
        least, size = ARCHITECTURES[self.name].least, ARCHITECTURES[self.name].size
        if self.image_size < least:
            raise ValueError(
                f"image_size {self.image_size} is too small for {self.name}: it needs {least} and is made for {size}"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """What the network takes besides its input and its head."""
        return {name: getattr(self, name) for name in ARCHITECTURES[self.name].own}


class TransferConfig(Section):
    """Where weights come from, and how much of them training may change."""

    pretrained: Literal["none", "imagenet"] = "none"
    """imagenet starts the backbone from published ImageNet weights; agecls models says where they come from."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File of tensors to start the backbone from, safetensors or PyTorch's; what --weights sets."""
    freeze: Literal["none", "backbone", "backbone+hidden", "all-but-last", "gradual"] = "none"
    """What stays as it starts: the backbone; the first hidden layer too; all but the last trainable_blocks blocks of
    the backbone; or the backbone at first, and every unfreeze_every epochs one block less (Howard and Ruder 2018)."""
    trainable_blocks: Annotated[int, Field(ge=1)] | None = None
    """Blocks of the backbone that train, counted from its features, for freeze=all-but-last."""
    unfreeze_every: Annotated[int, Field(ge=1)] | None = None
    """Epochs from one block to the next, for freeze=gradual."""
    backbone_lr: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of the backbone as a share of the head's."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each block of the backbone as a share of the one above it."""

    @model_validator(mode="after")
    def _goes_together(self) -> "TransferConfig":
        if self.weights is not None and self.pretrained != "none":
            raise ValueError("weights and pretrained both say where to start; give one of them")
        for name, freeze in (("trainable_blocks", "all-but-last"), ("unfreeze_every", "gradual")):
            given = getattr(self, name) is not None
            if given != (self.freeze == freeze):
                raise ValueError(f"{name} belongs to freeze={freeze}" if given else f"freeze={freeze} needs {name}")
        return self
