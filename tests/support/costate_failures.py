"""A co-state that fails at a step."""

from qurating.lqs import costate

_step_back = costate.Costate.step_back


def fail_at(self: costate.Costate, step: int) -> None:
    if self.step - 1 == step:
        raise InterruptedError
    _step_back(self)
