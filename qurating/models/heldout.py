"""Likelihoods of held-out sequences under a language model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from qurating.corpus.heldout import HeldOut
from qurating.models.likelihood import check_output_layer, cross_entropies, output_layer
from qurating.models.networks import num_positions
from qurating.runtime.errors import StageError

PRECISIONS = ("32-true", "bf16-mixed")


# no_grad, not inference_mode: what a network caches meanwhile must serve the next training step
@torch.no_grad()
def sequence_nll(
    network: PreTrainedModel,
    input_ids: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    eos_token_id: int,
    batch_size_sequences: int,
    precision: str,
    *,
    share: int = 0,
    num_shares: int = 1,
    show_progress: bool = True,
) -> npt.NDArray[np.float64]:
    """Σ_t −ln p(x_t | eos, x_<t) of each sequence, in nats, in the order given.

    Args:
        input_ids: all tokens, flat; sequence n is `input_ids[starts[n]:starts[n + 1]]`.
        starts: (N + 1,).
        share, num_shares: only every `num_shares`-th batch is computed, from number `share` on. The batches do not
            depend on it, and the sum of all shares is exactly the result of one share of one.

    Returns:
        (N,) sums in float64 of cross-entropies in float32; 0 for a sequence without tokens, or of another share.
    """
    lengths = np.diff(starts)
    nll = np.zeros(len(lengths))
    # longest first: a batch that is too large fails at once
    ranked = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    batches = [ranked[i : i + batch_size_sequences] for i in range(0, len(ranked), batch_size_sequences)]
    device = network.device
    with tqdm(
        total=int(lengths.sum()),
        desc="perplexity",
        unit="token",
        unit_scale=True,
        mininterval=0.5,
        disable=not show_progress,
    ) as progress:
        for batch in batches[share::num_shares]:
            width = int(lengths[batch[0]])
            inputs = torch.full((len(batch), width + 1), eos_token_id, dtype=torch.int64)
            mask = torch.zeros((len(batch), width), dtype=torch.bool)
            for row, n in enumerate(batch):
                sequence = input_ids[starts[n] : starts[n + 1]].astype(np.int64)
                inputs[row, 1 : lengths[n] + 1] = torch.from_numpy(sequence)
                mask[row, : lengths[n]] = True
            inputs, mask = inputs.to(device), mask.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                # no attention mask: padding is on the right, where a causal model never looks
                states = network.base_model(input_ids=inputs[:, :-1], use_cache=False).last_hidden_state
                losses = cross_entropies(output_layer(network), states[mask], inputs[:, 1:][mask])
            # in float64, and row by row, so that the sum of a sequence does not depend on its batch
            parts = losses.double().cpu().split([int(lengths[n]) for n in batch])
            nll[batch] = [float(part.sum()) for part in parts]
            progress.update(int(lengths[batch].sum()))
    return nll


def check_reads(network: PreTrainedModel, heldout: HeldOut, corpus: Path) -> None:
    """Raise StageError if a sequence is too long for the network, or its logits are not one linear layer."""
    context, lengths = num_positions(network.config), np.diff(heldout.starts)
    longest = int(lengths.argmax())
    if context is not None and lengths[longest] > context:
        document = heldout.rows["document_id"][longest].as_py()
        raise StageError(
            f"{corpus} holds out a sequence of {lengths[longest]} tokens (document {document!r}), and the model's "
            f"context is {context}: prepare the corpus with sequence_length={context} or less, "
            "or train with a longer context"
        )
    try:
        check_output_layer(network)
    except ValueError as error:
        raise StageError(f"{error}; use another architecture") from error
