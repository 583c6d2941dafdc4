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

import os
import sys
import warnings

import hydra
from omegaconf import DictConfig

from qurating.pipeline import help, hydra_internals, resolvers
from qurating.runtime.errors import StageError

resolvers.register_resolvers()
hydra_internals.work_once()
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes tokenise side by side already
# an experiment that runs once may be swept with -m: no reason for a warning
warnings.filterwarnings("ignore", message=r"\s*Running Hydra app with --multirun")
_composed = False


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    global _composed
    _composed = True
    from qurating.pipeline import run

    try:
        run.run(config)
    except Exception as error:
        message = _for_the_user(error)
        if message is None or run.runs_elsewhere():
            raise  # the launcher brings it home
        print(f"\nError: {message}", file=sys.stderr)
        sys.exit(1)


def _for_the_user(error: BaseException | None) -> str | None:
    """What to tell of an error that the user can mend, wherever in its chain that stands; None for any other."""
    while error is not None:
        if isinstance(error, StageError):
            return str(error)
        if "No space left on device" in str(error):  # libraries have errors of their own for it
            return f"{error}. Make room and run the same command again"
        error = error.__cause__ or error.__context__
    return None


def _command_line() -> int:
    """Run, and answer with the exit status."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        # not Hydra's: that takes seconds to list the groups
        print(__doc__, *help.groups(), sep="\n")
        return 0
    # argparse refuses a flag that stands among the overrides
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in {"-m", "--multirun"})
    try:
        main()
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        if stop.code and not _composed:
            _explain(sys.argv[1:])
        raise
    if "qurating.pipeline.sweep" in sys.modules:
        from qurating.pipeline.sweep import Sweep

        return int(Sweep.failed)
    return 0


def _explain(overrides: list[str]) -> None:
    """After Hydra refused a config: what exists in the place of the keys that do not."""
    with hydra.initialize(config_path="conf", version_base="1.3"):
        print(*help.explain(overrides), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(_command_line())
