"""Training through Accelerate and the Trainer of transformers."""

from .arguments import MACBDFTrainingArguments
from .checkpoints import last_complete_checkpoint
from .trainer import MACBDFTrainer

__all__ = ["MACBDFTrainer", "MACBDFTrainingArguments", "last_complete_checkpoint"]
