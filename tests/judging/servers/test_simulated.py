"""The simulated judge: its answers, and its server as the real client sees it."""

import itertools
import math

import openai
import pytest
from judge_fixtures import CODE, CONF, CRITERIA, EXPLANATION, LICENCE, TABLE

from qurating.judging.prompts import Prompt
from qurating.judging.servers import simulated
from qurating.judging.servers.simulated import (
    RefusedError,
    Settings,
    SettingsError,
    complete,
    label_logprobs,
    logit_of_b,
)
from qurating.judging.servers.text_statistics import standardised, weighted

PROMPT = Prompt(CONF / "prompts" / "pairwise.txt")
WEIGHTS = {criterion["question"]: criterion["simulated_weights"] for criterion in CRITERIA.values()}
QUIET = Settings(WEIGHTS, noise=0.0, positional_bias=0.0, seed=1)
NOISY = Settings(WEIGHTS, noise=0.7, positional_bias=0.5, seed=1)


def ask(criterion: str, a: str, b: str, settings: Settings = QUIET, **options: object) -> dict:
    return complete(settings, {"model": "simulated", "messages": PROMPT.messages(CRITERIA[criterion], a, b), **options})


def logit(criterion: str, a: str, b: str, settings: Settings = QUIET) -> float:
    return logit_of_b(settings, "\n".join(m["content"] for m in PROMPT.messages(CRITERIA[criterion], a, b)))


@pytest.mark.parametrize("other", [LICENCE, TABLE, CODE], ids=["licence", "table", "code"])
def test_an_explanation_has_more_educational_value(other: str) -> None:
    assert logit("educational_value", other, EXPLANATION) > 1.0


@pytest.mark.parametrize("value", [-800.0, -30.0, -1.0, 0.0, 0.3, 30.0, 800.0])
def test_logprobs_are_a_distribution_with_the_logit_between_its_labels(value: float) -> None:
    found = label_logprobs(value)
    assert sum(map(math.exp, found.values())) == pytest.approx(1.0)
    assert found["B"] - found["A"] == pytest.approx(value)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_same_prompt_gets_the_same_answer_and_the_seed_matters() -> None:
    one = ask("writing_style", EXPLANATION, CODE, NOISY, n=20)
    assert one == ask("writing_style", EXPLANATION, CODE, NOISY, n=20)
    other = logit("writing_style", EXPLANATION, CODE, NOISY._replace(seed=2))
    assert other != logit("writing_style", EXPLANATION, CODE, NOISY)


def test_positional_bias_favours_the_first_and_noise_differs_by_order() -> None:
    biased = QUIET._replace(positional_bias=0.5)
    for a, b in itertools.permutations([EXPLANATION, CODE, TABLE], 2):
        assert logit("writing_style", a, b, biased) == pytest.approx(logit("writing_style", a, b) - 0.5)
    noise = [
        logit("writing_style", a, b, NOISY) - logit("writing_style", a, b) + 0.5
        for a, b in [(CODE, TABLE), (TABLE, CODE)]
    ]
    assert noise[0] != pytest.approx(noise[1])
    assert noise[0] != pytest.approx(-noise[1])


def test_votes_follow_the_probabilities() -> None:
    probability = math.exp(label_logprobs(logit("writing_style", LICENCE, EXPLANATION, NOISY))["B"])
    votes = [
        choice["message"]["content"] for choice in ask("writing_style", LICENCE, EXPLANATION, NOISY, n=2000)["choices"]
    ]
    assert votes.count("B") / 2000 == pytest.approx(probability, abs=0.04)
    assert set(votes) <= {"A", "B", "Neither"}
    cold = ask("writing_style", LICENCE, EXPLANATION, NOISY, n=20, temperature=0)["choices"]
    assert {choice["message"]["content"] for choice in cold} == {"B" if probability > 0.5 else "A"}


def test_texts_with_tags_or_questions_in_them_do_not_confuse_it() -> None:
    question = CRITERIA["facts_and_trivia"]["question"]
    assert logit("writing_style", EXPLANATION + "\n" + question, CODE) == pytest.approx(
        weighted(standardised(CODE), WEIGHTS[CRITERIA["writing_style"]["question"]])
        - weighted(standardised(EXPLANATION + "\n" + question), WEIGHTS[CRITERIA["writing_style"]["question"]])
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "gpt", "messages": [{"content": "x"}]}, 404),
        ({"model": "simulated", "messages": [{"content": "no texts"}]}, 400),
        ({"model": "simulated", "messages": [{"content": [{"type": "image"}]}]}, 400),
        ({"model": "simulated"}, 400),
        ({"model": "simulated", "messages": [{"content": "<text_a>\na\n</text_a>\n<text_b>\nb\n</text_b>"}]}, 400),
    ],
)
def test_requests_that_it_refuses(body: dict, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        complete(QUIET, body)
    assert refused.value.status == status


def test_the_server_through_the_typed_client() -> None:
    with simulated.serving(NOISY) as base_url, openai.OpenAI(base_url=base_url, api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["simulated"]
        reply = client.chat.completions.create(
            model="simulated",
            messages=PROMPT.messages(CRITERIA["educational_value"], LICENCE, EXPLANATION),  # type: ignore[arg-type]
            logprobs=True,
            top_logprobs=2,
            max_tokens=1,
        )
        assert reply.choices[0].logprobs
        assert reply.choices[0].logprobs.content
        top = {entry.token: entry.logprob for entry in reply.choices[0].logprobs.content[0].top_logprobs}
        expected = label_logprobs(logit("educational_value", LICENCE, EXPLANATION, NOISY))
        assert top == pytest.approx({token: expected[token] for token in list(expected)[:2]})
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.APIConnectionError), openai.OpenAI(base_url=base_url, api_key="n", max_retries=0) as gone:
        gone.models.list()


def test_an_unknown_statistic_is_an_error_before_the_server_starts() -> None:
    with (
        pytest.raises(SettingsError, match=r"no statistic sparkle; the statistics are mean_word_length"),
        simulated.serving(QUIET._replace(criteria={"Which?": {"sparkle": 1.0}})),
    ):
        pass
