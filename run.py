"""qurating: choose what a language model is pre-trained on, and compare the choices.

python run.py                          the whole method on the embedded corpus, in minutes
python run.py +experiment=NAME         a named experiment
python run.py -m +experiment=select_and_train selection=top_k,sample criterion=educational_value,writing_style
                                       a sweep; hydra/launcher=slurm sends it to a cluster
python run.py 'stage=[select,order]'   some stages only
python run.py scale=paper              the papers' sizes
python run.py --cfg job                show the composed configuration; --hydra-help lists Hydra's other flags

Settings are key=value, as in seed=1 num_tokens=200_000 model.optimizer.lr=0.001 overwrite=true (conf/config.yaml).
Groups are group=choice (an experiment is added: +experiment=...; stage takes a list):
"""

import errno
import os
import sys
import warnings

import hydra
from omegaconf import DictConfig

from qurating import configuration
from qurating.artifacts import StageError

configuration.register_resolvers()
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes tokenise side by side already
# an experiment that runs once may be swept with -m: no reason for a warning
warnings.filterwarnings("ignore", message=r"\s*Running Hydra app with --multirun")
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
    if {"--help", "-h"} & set(sys.argv[1:]):
        # not Hydra's: that takes seconds to list the groups
        print(__doc__, *configuration.groups(), sep="\n")
        return 0
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
