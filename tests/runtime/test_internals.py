"""Private interfaces of libraries: used in one file, checked with the pinned versions, and working as documented."""

import re

import torch
from repository import ROOT
from transformers import LlamaConfig, LlamaForSequenceClassification

from qurating.runtime import internals

PRIVATE = re.compile(
    r"\b(torch|pl|trainer|transformers|lightning_fabric|pytorch_lightning)(\.\w+)*\._[a-z]"
    r"|getattr\([^)]*\"_[a-z]|rank_zero_only|is_overridden"
    r"|from (torch|transformers|pytorch_lightning|lightning_fabric)[\w.]*\._"
)


def test_nothing_private_is_used_elsewhere() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "qurating").rglob("*.py")
        if PRIVATE.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"qurating/runtime/internals.py"}


def test_it_was_looked_at_with_the_pinned_versions() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {name: pins[name] for name in internals.CHECKED} == internals.CHECKED


def test_numbers_of_a_network_are_constants_once_it_is_compiled() -> None:
    internals.prepare_compilation()
    graphs = []

    def kept(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    @torch.compile(backend=kept, dynamic=True)
    def scaled(values: torch.Tensor, scale: float) -> torch.Tensor:
        return values * scale

    assert scaled(torch.ones(3), 0.125).tolist() == [0.125] * 3
    (graph,) = graphs
    assert 0.125 in [argument for node in graph.graph.nodes for argument in node.args]
    assert torch._inductor.config.cpp.vec_isa_ok is True


def test_the_layers_of_a_model_are_known() -> None:
    config = LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=1, num_labels=1
    )
    network = LlamaForSequenceClassification(config)
    layers = [module for module in network.modules() if type(module).__name__ in internals.layer_classes(network)]
    assert layers == list(network.model.layers)
    assert internals.layer_classes(torch.nn.Linear(1, 1)) == set()
