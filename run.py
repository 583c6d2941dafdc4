"""qurating: `python run.py --help` says what it can do; conf/config.yaml what it does by default."""

import errno
import os
import sys

import hydra
from omegaconf import DictConfig

from qurating import configuration
from qurating.artifacts import StageError

configuration.register_resolvers()
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes tokenise side by side already
_composed = False


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    global _composed
    _composed = True
    from qurating import pipeline

    try:
        pipeline.run(config)
    except (StageError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOSPC:
            raise
        if pipeline.runs_elsewhere():
            raise  # the launcher brings it home
        hint = "" if isinstance(error, StageError) else ". Make room and run the same command again"
        print(f"\nError: {error}{hint}", file=sys.stderr)
        sys.exit(1)


def _command_line() -> int:
    """Run, and answer with the exit status."""
    try:
        main()
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        if stop.code and not _composed:
            _explain(sys.argv[1:])
        raise
    if "qurating.pipeline" in sys.modules:
        from qurating.pipeline import Sweep

        return int(Sweep.failed)
    return 0


def _explain(overrides: list[str]) -> None:
    """After Hydra refused a config: what exists in the place of the keys that do not."""
    with hydra.initialize(config_path="conf", version_base="1.3"):
        print(*configuration.explain(overrides), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(_command_line())
