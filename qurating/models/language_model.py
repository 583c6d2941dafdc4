"""The causal language model as a Lightning module: the proxy model, and the model trained on a selected subset."""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from qurating.corpus.labels import NO_TARGET
from qurating.models import sharding
from qurating.models.likelihood import has_plain_loss
from qurating.models.linear_cross_entropy import summed_cross_entropy
from qurating.models.optimization import Optimization
from qurating.models.rating_networks import repeated_layers
from qurating.models.step_loss import StepLoss, check_gradients
from qurating.runtime import internals


class LanguageModel(pl.LightningModule):
    """Next-token prediction on blocks of tokens.

    Args:
        network: a Hugging Face causal language model.
        optimization: of its weights.
        seed: of the random numbers (dropout), which are a function of it and the step.
        compiles: compile the training of its layers; changes results by rounding alone.
    """

    def __init__(
        self, network: PreTrainedModel, optimization: Optimization, *, seed: int, compiles: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.optimization = optimization
        self.seed = seed
        self.compiles = compiles
        self._step_loss = StepLoss()

    def configure_model(self) -> None:
        if self.device_mesh is not None or self.compiles:
            _ = self._has_plain_loss  # tried while the weights are still in one place, and without compiling for that
        if self.compiles:
            internals.prepare_compilation()
            # equal layers share one compilation; in place, so that no name of a weight changes
            for layer in repeated_layers(self.network):
                layer.compile()
        sharding.shard(self.network, self.device_mesh)

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Within this, compiled layers run as they are: inputs of many widths would be compiled again and again."""
        return torch.compiler.set_stance("force_eager") if self.compiles else nullcontext()

    def whole_network(self) -> PreTrainedModel:
        """The network with all its weights, on the first process; every process calls this."""
        if not sharding.is_sharded(self.network):
            return self.network
        weights = self.trainer.strategy.lightning_module_state_dict()
        if not self.trainer.is_global_zero:
            return self.network
        network = AutoModelForCausalLM.from_config(self.network.config, dtype=self.network.dtype)
        network.load_state_dict({name.removeprefix("network."): weight for name, weight in weights.items()})
        return network

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy in nats per token; the batch holds `input_ids` and `labels` (−100: no target), both (B, T).

        The sum over the targets is divided by the targets of a full batch, B · (T − 1): a token of a partial last step
        has the same weight as any other, whatever the accumulation and the number of devices.
        """
        # one seed per pass, so that a resumed run draws the same random numbers, whatever else has drawn meanwhile
        torch.manual_seed(self.seed + batch_idx)
        labels = batch["labels"]
        full = labels.shape[0] * (labels.shape[1] - 1)
        loss = self._loss(batch["input_ids"], labels, full)
        num_targets = (labels[:, 1:] != NO_TARGET).sum()
        self._step_loss.add(loss * full / num_targets.clamp(min=1), num_targets)
        self._tokens_seen = batch["tokens_seen"]
        return loss

    def _loss(self, input_ids: Tensor, labels: Tensor, divisor: int) -> Tensor:
        """Σ −ln p of the targets over the divisor; where the loss is plain, the logits never exist at once."""
        network = self.network
        if self._has_plain_loss:
            return sharding.whole(network, self._summed_loss, input_ids, labels) / divisor
        loss: Tensor = network(input_ids=input_ids, labels=labels, use_cache=False, num_items_in_batch=divisor).loss
        return loss

    def _summed_loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        network = self.network
        states = network.base_model(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]
        return summed_cross_entropy(network.get_output_embeddings(), states.flatten(0, 1), labels[:, 1:].flatten())

    @functools.cached_property
    def _has_plain_loss(self) -> bool:
        return has_plain_loss(self.network)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._step_loss.log(self)
        # once per step: reading a number waits for the device
        self.log("train/tokens", float(self._tokens_seen), on_step=True)
        check_gradients(self)

    def configure_optimizers(self) -> dict[str, Any]:
        # no weight decay on norms and biases, as usual
        decayed = [p for p in self.parameters() if p.ndim >= 2]
        others = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        return self.optimization.configured(groups, self.trainer)
