"""The judge stage with a few pairs, as the tests run it."""

from pathlib import Path
from typing import Any

from judge_fixtures import CONF, CRITERIA
from omegaconf import OmegaConf

from qurating.pipeline import resolvers
from qurating.stages.judging.judge import judge


def settings(choice: str = "simulated", **changes: Any) -> dict[str, Any]:
    resolvers.register_resolvers()
    given = OmegaConf.load(CONF / "judge" / f"{choice}.yaml")
    if "defaults" in given:  # as Hydra composes it
        first = CONF / "judge" / f"{given.defaults[0]}.yaml"
        given = OmegaConf.masked_copy(given, [str(key) for key in given if key != "defaults"])  # type: ignore[arg-type]
        given = OmegaConf.merge(OmegaConf.load(first), given)
    small: dict[str, Any] = {"num_pairs": 12, "max_snippet_tokens": 64, "max_retries": 0, "timeout_seconds": 20.0}
    small |= {"patience_seconds": 0.0, "triple_fraction": 0.0}
    if choice == "local":
        small |= {"gguf": "", "name": "local"}
    if choice == "openai_reasoning":
        small |= {"name": "reasoning"}
    if choice == "endpoint":
        small |= {"name": "served", "model": "m"}
    if choice == "openai":
        small |= {"max_cost_usd": None}
    merged = OmegaConf.to_container(OmegaConf.merge(given, small | changes), resolve=True)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def run(
    output: Path,
    corpus: Path,
    given: dict[str, Any],
    criteria: dict[str, Any] | None = None,
    seed: int = 1,
    responses: Path | None = None,
) -> Any:
    """`responses`: the folder of response logs; None: one that no other output shares."""
    output.mkdir(exist_ok=True)
    return judge(
        output=output,
        corpus=corpus,
        criteria=criteria or CRITERIA,
        judge=given,
        compared=None,
        seed=seed,
        responses=str(responses or output.with_name(f"{output.name}-responses")),
    )


KILLED = """
import json, sys
from pathlib import Path
from qurating.stages.judging.judge import judge
given = json.loads(sys.argv[1])
output = Path(given["output"])
responses = given.pop("responses", f"{output}-responses")
judge(**given | {"output": output, "corpus": Path(given["corpus"])}, compared=None, seed=1, responses=responses)
"""
