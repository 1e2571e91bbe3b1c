"""The loop that a training runs in, made as its settings say."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.strategies import DDPStrategy

from agecls.config import Config
from agecls.learn.processes import Place, SyncBatchNorms
from agecls.learn.remembered import Precision


def make_trainer(
    config: Config, precision: Precision, place: Place, callbacks: Sequence[Callback] = (), **others: Any
) -> pl.Trainer:
    """Make Lightning's trainer.

    Args:
        config: settings of the training.
        precision: as it was chosen.
        place: this process among those of the training.
        callbacks: what is done besides.
        others: further arguments of the trainer.
    """
    settings = config.train
    if place.together:
        others |= {
            "strategy": DDPStrategy(
                cluster_environment=LightningEnvironment(),
                process_group_backend="nccl" if torch.cuda.is_available() else "gloo",
                # A frozen parameter gets no gradient that the others could wait for.
                find_unused_parameters=config.transfer.freeze != "none",
            ),
            "plugins": [SyncBatchNorms()],
        }
    return pl.Trainer(
        accelerator="auto",
        devices=place.devices,
        num_nodes=place.nodes,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=settings.epochs,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm or None,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
        **others,
    )
