"""What a training computes per token, and what the machine could compute meanwhile."""

import functools
import time

import torch
from transformers import PreTrainedModel

_SIZE = {"cpu": 512, "cuda": 8192}  # of the square matrices that are multiplied
_REPEATS = {"cpu": 3, "cuda": 10}


def flops_per_token(network: PreTrainedModel, sequence_length: int) -> float:
    """Floating-point operations of training on one token of a sequence: 6 · N + 6 · layers · T · width.

    Per weight that a token is multiplied by, 2 operations in the forward pass and 4 in the backward pass; N counts all
    weights but the embeddings, which are looked up, unless the head shares them. Per layer, a token's query is
    multiplied by T / 2 keys on average, as many values are summed up, and `width` is that of all heads together (PaLM,
    arXiv 2204.02311, Appendix B, which counts T of them). What is computed again by choice does not count.
    """
    config = network.config.get_text_config()
    embedding = network.get_input_embeddings().weight
    head = network.get_output_embeddings()
    is_shared = head is not None and head.weight is embedding
    weights = network.num_parameters() - (0 if is_shared else embedding.numel())
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head_width
    return 6.0 * weights + 6.0 * config.num_hidden_layers * sequence_length * width


@functools.cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of products of large square matrices, the best of a few; measured once.

    It takes some hundredths of a second, with as many threads as torch uses.
    """
    size = _SIZE[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(1 + _REPEATS[device.type]):  # the first one also loads what it needs
        began = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def dtype_of_products(precision: str) -> torch.dtype:
    """The type in which a Lightning trainer of this precision multiplies matrices."""
    return torch.bfloat16 if "bf16" in precision else torch.float16 if "16" in precision else torch.float32
