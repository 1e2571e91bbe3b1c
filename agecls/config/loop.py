"""Settings of the training loop, of its images and of prediction."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from agecls.config.section import Fraction, Section


class AugmentConfig(Section):
    """Random changes to training images; the ranges are fractions of the side unless said otherwise."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance of each change."""
    shift: Fraction = 0.05
    """Largest shift."""
    scale: Fraction = 0.05
    """Largest change of scale."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation in degrees."""
    crop: Fraction = 0.1
    """Largest part of the side cut away by a random crop, scaled back to size."""
    blur: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    brightness: Fraction = 0.2
    """Largest change of brightness."""
    contrast: Fraction = 0.2
    """Largest change of contrast."""
    flip: bool = False
    """Mirror left and right."""
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Blend each image and its label with another's, by a share from Beta(mixup, mixup) (Zhang 2018); 0 is off."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Paste a box of another image, its area from Beta(cutmix, cutmix) (Yun 2019); 0 is off."""
    mixed: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the batches that are mixed; where mixup and cutmix are both on, each has half of them."""

    @model_validator(mode="after")
    def _mixes_by_something(self) -> "AugmentConfig":
        if self.mixed < 1 and not (self.mixup or self.cutmix):
            raise ValueError(
                f"mixed is {self.mixed} while mixup and cutmix are both 0; set one of them, such as mixup 0.2"
            )
        return self


BATCH: Final = 64
"""Images of a batch where nothing else is said."""

EVAL_BATCH: Final = 256
"""Images of a batch where nothing is learnt."""


class TrainConfig(Section):
    """The loop."""

    batch_size: Annotated[int, Field(ge=2, le=65536)] | Literal["auto"] = BATCH
    """Images a batch; auto times sizes from 64 up on this machine and takes the one that pays, so that another machine
    may train otherwise."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """At most so many passes."""
    patience: Annotated[int, Field(ge=0)] = 20
    """Stop after so many epochs without a better valid macro-F1; 0 never stops."""
    sampler: Literal["weighted", "uniform"] = "weighted"
    """weighted draws images by inverse class frequency, with replacement; uniform shuffles them."""
    sampler_power: Annotated[float, Field(ge=0, le=1)] = 1.0
    """weighted draws an image with a chance of class frequency ** -sampler_power: 1 evens the classes out, 0 leaves
    their frequencies."""
    max_samples: Annotated[int, Field(ge=2)] | None = None
    """At most so many training images, drawn once from the seed; a larger number adds to a smaller one's."""
    balance: Literal["none", "class", "gender"] = "none"
    """class or gender: train on equally many images of each, drawn once from the seed; the rest is left out."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient; a longer one is shortened to it; 0 never clips."""
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    """Batches whose gradients make one step: the step of one batch so many times as large, but for batch norms, which
    see each batch alone, and class weights, which are averaged within each."""
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes on each machine, one a GPU where there are any; each takes its own share of every epoch, so that a step
    sees devices x nodes x accumulate x batch_size images. Batch norms are over all processes."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Machines; start the same command on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment."""
    compile: bool = False
    """Compile the network by torch.compile: a wait at the start, then faster steps on most GPUs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto times both on this network and machine and takes the faster one if its results agree."""
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Processes that prepare batches; auto goes by the cores and the shared memory that this process may use, and takes
    none on two cores or fewer."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Of weights, batches and augmentation."""
    picture_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between confusion-matrix pictures in TensorBoard; 0 draws none."""

    @property
    def batch(self) -> int:
        """Images a batch; 64 for auto as long as nothing is chosen."""
        return BATCH if self.batch_size == "auto" else self.batch_size


class PredictConfig(Section):
    """How the trained network is asked, on valid as well."""

    mirror: bool = False
    """Average the probabilities of each image and its mirror image, at twice the time."""
