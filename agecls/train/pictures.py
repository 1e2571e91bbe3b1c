"""What a training shows in TensorBoard besides its curves."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from agecls.learn.run import Run
from agecls.learn.task import FaceTask
from agecls.report.pictures import confusion_picture


class ConfusionPictures(Callback):
    """Show the valid confusion matrix in TensorBoard every so many epochs.

    Args:
        run: whose classes and mark the picture carries.
        every: epochs between two pictures; 0 draws none.
    """

    def __init__(self, run: Run, every: int) -> None:
        self.run, self.every = run, every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the epoch's matrix where its turn has come, and that of the last epoch."""
        epoch = trainer.current_epoch + 1
        if not self.every or (epoch % self.every and epoch != trainer.max_epochs):
            return
        assert isinstance(pl_module, FaceTask)  # noqa: S101 - what Lightning hands over, not what a user typed
        for target in self.run.targets:
            matrix = pl_module.last_confusions[target.name]
            shown = {
                "task": target.name,
                "classes": target.classes,
                "confusion": matrix.tolist(),
                "n": int(matrix.sum()),
                "run": self.run.name,
                "split": self.run.split.name,
                "part": "valid",
                "leaked": self.run.leaked,
                "leaked_count": self.run.leaked_count,
            }
            name = "valid_confusion" if len(self.run.targets) == 1 else f"valid_confusion_{target.name}"
            trainer.logger.experiment.add_figure(name, confusion_picture(shown), epoch)  # type: ignore[union-attr]
