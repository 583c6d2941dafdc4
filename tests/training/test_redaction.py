"""The config that leaves the machine has no secret, however it came into a setting."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from qurating.training.redaction import REDACTED, redacted


def of(settings: dict[str, Any]) -> dict[str, Any]:
    config = OmegaConf.create(settings)
    resolved, raw = OmegaConf.to_container(config, resolve=True), OmegaConf.to_container(config)
    return redacted(dict(resolved), dict(raw))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["api_key", "X-Api-Key", "password", "client_secret", "Authorization", "hf_token"])
def test_a_setting_whose_name_says_so_is_a_secret(name: str) -> None:
    assert of({"judge": {"options": {name: "abc", "other": 1}}}) == {"judge": {"options": {name: REDACTED, "other": 1}}}
    assert of({"list": [{name: {"nested": "abc"}}]}) == {"list": [{name: REDACTED}]}
    found = of({name: "abcdefgh", "names": {"judge": f"simulated,{name}=abcdefgh"}})
    assert found == {name: REDACTED, "names": {"judge": f"simulated,{name}={REDACTED}"}}


def test_names_that_only_look_alike_keep_their_values() -> None:
    settings = {"api_key_variable": "LAB_KEY", "num_tokens": 5, "max_tokens": 7, "api_key": None, "key_field": "id"}
    settings |= {"eos_token": "</s>", "token_reader": "x", "monkey": "y", "keyboard": "z", "text_field": "text"}
    assert of(settings) == settings


def test_the_value_of_a_variable_is_a_secret_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LAB": "named-by-setting", "SOME_TOKEN": "by-its-name", "PLAIN": "interpolated"}.items():
        monkeypatch.setenv(name, value)
    found = of(
        {
            "api_key_variable": "LAB",
            "a": "${oc.env:PLAIN}",
            "b": ["x ${a} y"],
            "c": {"named-by-setting": "by-its-name, named-by-setting"},
            "d": "${oc.env:ABSENT,by-its-name}",
        }
    )
    assert found == {
        "api_key_variable": "LAB",
        "a": REDACTED,
        "b": [f"x {REDACTED} y"],
        "c": {REDACTED: f"{REDACTED}, {REDACTED}"},
        "d": REDACTED,
    }


def test_short_values_of_variables_do_not_garble_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "a")
    assert of({"name": "a banana"}) == {"name": "a banana"}


def test_a_secret_that_begins_with_another_is_replaced_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "12345678")
    monkeypatch.setenv("B_KEY", "12345678-and-more")
    assert of({"x": "12345678-and-more"}) == {"x": REDACTED}


def test_the_user_of_a_url_and_the_overrides_of_hydra_are_left_out() -> None:
    assert of({"url": "https://me:pw@host/v1", "hydra": {"overrides": ["x=1"]}}) == {
        "url": f"https://{REDACTED}@host/v1"
    }


def test_what_a_url_is_given_as_a_secret_is_left_out() -> None:
    url = "https://host/v1?api-version=2&api-key=abc&page=3#top"
    assert of({"base_url": url}) == {"base_url": f"https://host/v1?api-version=2&api-key={REDACTED}&page=3#top"}
    signed = of({"paths": ["https://store/a.jsonl?se=2026&sig=a%2Fb", "az://b/c.jsonl?token=xyz"]})
    assert signed == {"paths": [f"https://store/a.jsonl?se=2026&sig={REDACTED}", f"az://b/c.jsonl?token={REDACTED}"]}
    named = of({"url": "https://host/?key=abcdefgh", "name": "url=https_host_key_abcdefgh"})
    assert named["name"] == f"url=https_host_key_{REDACTED}"
    assert of({"text": "why? key=abc"}) == {"text": "why? key=abc"}
