"""A language model as lm-evaluation-harness asks it; the module needs lm-eval (see `harness_tasks.check_installed`)."""

from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from qurating.models.networks import check_vocabulary, num_positions
from qurating.runtime.errors import StageError


class HarnessModel(HFLM):
    """The harness' model of transformers, with a fixed batch size, that notices what does not fit the context.

    `cut`: what was shortened since it was last cleared: (question, answer) of a likelihood, (question, "") of a text.
    """

    def __init__(self, folder: Path, device: torch.device, *, batch_size: int, precision: str, may_cut: bool) -> None:
        """Load a Hugging Face folder; no code in it is run.

        Args:
            batch_size: requests per forward pass; changes results by rounding alone.
            precision: 32-true or bf16-mixed.
            may_cut: a question that is too long loses its beginning; otherwise it is an error.

        Raises:
            StageError: a network with too few embeddings for its tokenizer.
        """
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
        check_vocabulary(network, tokenizer, folder)
        super().__init__(
            pretrained=network.to(device).eval(),
            tokenizer=tokenizer,
            backend="causal",
            device=str(device),
            batch_size=batch_size,
            max_length=num_positions(network.config),
            mixed_precision_dtype="bfloat16" if precision == "bf16-mixed" else None,
            trust_remote_code=False,
        )
        self.folder, self.may_cut = folder, may_cut
        self.cut = set[tuple[str, str]]()

    def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        for (question, answer), question_ids, answer_ids in requests:
            if len(answer_ids) > self.max_length:
                raise StageError(
                    f"{self.folder} has a context of {self.max_length} tokens, too short for an answer of "
                    f"{len(answer_ids)}: {answer[:80]!r}"
                )
            # the last token of the answer is predicted and not read
            self._note(question, answer, len(question_ids) + len(answer_ids) - 1, self.max_length)
        return super()._loglikelihood_tokens(requests, *args, **kwargs)

    def generate_until(self, requests: Any, *args: Any, **kwargs: Any) -> Any:
        for question, settings in (request.args for request in requests):
            length = settings.get("max_gen_toks", self.max_gen_toks)
            if length >= self.max_length:
                raise StageError(
                    f"{self.folder} has a context of {self.max_length} tokens, too short for a task that writes up to "
                    f"{length}"
                )
            self._note(question, "", len(self.tok_encode(question)), self.max_length - length)
        return super().generate_until(requests, *args, **kwargs)

    def _note(self, question: str, answer: str, length: int, limit: int) -> None:
        if length <= limit:
            return
        if not self.may_cut:
            raise StageError(
                f"a question with its examples has {length} tokens, and {self.folder} has a context of {limit}: lower "
                f"num_fewshot, or set tasks.on_too_long=cut, which reads the last {limit}. It ends in "
                f"{question[-80:]!r}"
            )
        self.cut.add((question, answer))
