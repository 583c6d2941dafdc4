"""Names of artifacts, derived from paths and set by hand."""

import shlex
from pathlib import Path

import pytest
from hydra import compose

from qurating.pipeline import checks
from qurating.pipeline.naming import name_artifacts
from qurating.pipeline.safe_names import is_safe, of_files, of_path, safe
from qurating.runtime.errors import StageError


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        # as before
        (["/data/wiki-*.jsonl.gz"], "wiki"),
        ("/data/books/*.parquet", "books"),
        ("*.jsonl", "corpus"),
        (None, "empty"),
        ("HuggingFaceFW/fineweb", "fineweb"),
        ("/data/müller-日本.jsonl", "müller-日本"),
        # once the names of folders beyond the artifacts, or patterns
        ("../*.jsonl", "house"),
        ("../../*.jsonl", "town"),
        ("..", "house"),
        ("../**/*.jsonl", "house"),
        ("data/**/*.jsonl.zst", "data"),
        ("**/*.jsonl", "corpus"),
        ("data/shard-[0-9]*.jsonl", "shard-0-9"),
        ("data/?.jsonl", "data"),
        (".cache/*.jsonl", "cache"),
        ("~/*.jsonl", "me"),
        ("/*.jsonl", "corpus"),
        ("data/it's $HOME & (more).jsonl", "it_s__HOME____more_"),
        ("data/a\nb.jsonl", "a_b"),
        ("data/-rf.jsonl", "rf"),
        ("'.jsonl", "_"),
    ],
)
def test_names_of_files(
    paths: str | list[str] | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "town/house/room").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "town/house/room")
    monkeypatch.setenv("HOME", "/home/me")
    found = of_files(paths)
    assert is_safe(found)
    assert shlex.quote(found) == found or not found.isascii()
    assert found == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lab/QuRater-1.3B", "QuRater-1.3B"),
        ("/models/rater/", "rater"),
        ("qwen2.5:7b", "qwen2.5:7b"),
        ("lab/rater@v1.0", "rater@v1.0"),
        ("_private", "_private"),
        ("models/rater/.", "rater"),
        (".", "room"),
        ("..", "house"),
        ("../", "house"),
        ("~", "me"),
        ("~/", "me"),
        ("/", "unnamed"),
        ("models/my rater", "my_rater"),
        ("models/*", "_"),
        ("models/[x]", "_x_"),
        ("models/-o", "o"),
        ("models/.hidden", "hidden"),
        ("models/{a,b};rm", "_a,b__rm"),
        ("mo\ndel", "mo_del"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
    ],
)
def test_names_of_models(path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "town/house/room").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "town/house/room")
    monkeypatch.setenv("HOME", "/home/me")
    found = of_path(path)
    assert is_safe(found)
    assert shlex.quote(found) == found or not found.isascii()
    assert found == name


def test_every_character_that_a_shell_interprets_goes() -> None:
    for character in " \t\n!\"#$&'()*;<>?[\\]^`{|}~/\x00\x1b":
        assert safe(f"a{character}b") == "a_b", character
        assert not is_safe(f"a{character}b")
    assert safe("--", otherwise="none") == "none"
    assert not is_safe("")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("overrides", "stage", "name"),
    [
        (["corpus=jsonl", "corpus.paths=data/**/*.jsonl"], "prepare_corpus", "corpora/data"),
        (["target.domain='my domain/*'"], "prepare_target", "targets/heldout-my_domain__"),
        (
            ["ordering=column", "ordering.column='a b'"],
            "order",
            "orders/select_120K_tokens_uniform-across_domains-sorting_by_column-a_b",
        ),
        (["perplexity=kenlm", "perplexity.kenlm='/m/*.arpa'"], "measure_perplexity", "ratings/perplexity-by-m"),
        (["perplexity=pretrained", "perplexity.from_pretrained=models/.."], "measure_perplexity", None),
        (["judge=endpoint", "judge.base_url=http://x", "judge.model='a model'"], "judge", "judgments/a_model"),
        (["rater.from_pretrained=models/x/."], "rate", "ratings/by-x"),
        (["corpus=hub", "corpus.dataset='~/'"], "prepare_corpus", None),
    ],
)
def test_derived_names_of_artifacts_are_safe(overrides: list[str], stage: str, name: str | None) -> None:
    found = name_artifacts(overrides)
    for artifact in filter(None, found.values()):
        kind, _, rest = artifact.partition("/")
        assert is_safe(kind)
        assert is_safe(rest, also="[]"), artifact
    assert name is None or found[stage] == name
    checks.check(compose("config", overrides), found)


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "artifacts.rate='ratings/my ratings'",
            r"artifacts\.rate=ratings/my ratings: a name has the form <kind>/<name>",
        ),
        ("artifacts.rate='ratings/*'", r"artifacts\.rate=ratings/\*: .*letters, digits"),
        ("artifacts.rate=ratings/-x", r"artifacts\.rate=ratings/-x: .*begins with neither"),
        ("corpus.name='my corpus'", r"corpus\.name=my corpus: it becomes a part of the names of artifacts; a name has"),
        ("corpus.name=../x", r"corpus\.name=\.\./x"),
        ("rater.name='a*'", r"rater\.name=a\*"),
        ("judge.name=''", r"judge\.name="),
        ("paths.artifacts='~/artifacts'", r"paths\.artifacts=~/artifacts would make a folder called ~"),
    ],
)
def test_unsafe_names_set_by_hand_are_refused(override: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        checks.check(compose("config", [override]), name_artifacts([override]))


@pytest.mark.usefixtures("conf")
def test_names_of_existing_artifacts_can_be_set_by_hand() -> None:
    overrides = ["artifacts.select='subsets/x,weights=[1_2]'", "judge.name=qwen2.5:7b"]
    checks.check(compose("config", overrides), name_artifacts(overrides))
