"""A corpus in a tokenizer whose ids have gaps: 257 tokens, the highest id far above."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from qurating.corpus.readers import Jsonl
from qurating.stages.prepare_corpus import prepare_corpus


def tokenizer_with_gaps(folder: Path, highest: int) -> Path:
    """Words `w0` … `w254`, an end of text, and the word `far` with the id `highest`."""
    vocabulary = {f"w{number}": number for number in range(255)} | {"<end>": 255, "far": highest}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(folder)
    return folder


def corpus_with_gaps(folder: Path, highest: int) -> Path:
    """Forty documents of seven words, one of which is `far`."""
    folder.mkdir()
    texts = [f"w{i} w{2 * i} far " + " ".join(f"w{i + j}" for j in range(4)) for i in range(40)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "texts.jsonl").write_text(lines, encoding="utf-8")
    prepare_corpus(
        output=folder / "corpus",
        reader=Jsonl(paths=str(folder / "texts.jsonl")),
        sequence_length=16,
        heldout_fraction=0.2,
        tokenizer=str(tokenizer_with_gaps(folder / "words", highest)),
        vocabulary_size=1000,
        max_characters_for_tokenizer=1000,
        documents_per_shard=20,
        max_characters_per_shard=10_000,
        seed=1,
        num_workers=1,
    )
    return folder / "corpus"
