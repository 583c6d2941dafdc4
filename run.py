"""qurating: choose what a language model is pre-trained on, and compare the choices.

python run.py                          the main job, +experiment=quickstart: the whole method on the embedded corpus
python run.py +experiment=NAME         a named experiment
python run.py -m +experiment=select_and_train selection=top_k,sample criterion=educational_value,writing_style
                                       a sweep; hydra/launcher=slurm sends it to a cluster
python run.py 'stage=[select,order]'   some stages only
python run.py scale=paper hydra/launcher=slurm_gpu
                                       the papers' sizes, on GPUs of a cluster
python run.py plan=true                what the command would do and take (time, dollars, disk); starts nothing
python run.py --cfg job                show the composed configuration; --hydra-help lists Hydra's other flags

Settings are key=value, as in seed=1 num_tokens=200_000 model.optimizer.lr=0.001 overwrite=true (conf/config.yaml).
Groups are group=choice (an experiment is added: +experiment=...; stage takes a list):
"""

import os
import sys
import warnings

import hydra
from omegaconf import DictConfig

from qurating.pipeline import help, hydra_internals, overrides, resolvers
from qurating.runtime.errors import user_message

resolvers.register_resolvers()
hydra_internals.work_once()
hydra_internals.leave_out_what_choices_lack()
hydra_internals.admit_launchers()
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # worker processes already tokenise in parallel
# sweeping an experiment of one run with -m is fine: no warning
warnings.filterwarnings("ignore", message=r"\s*Running Hydra app with --multirun")
_composed = False


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    global _composed
    _composed = True
    from qurating.pipeline import run, sweep

    try:
        run.run(config)
    except Exception as error:
        message = user_message(error)
        if message is None or sweep.is_sweep():
            raise  # in a sweep, the other cells go on
        print(f"\nError: {message}", file=sys.stderr)
        sys.exit(1)


def _command_line() -> int:
    """Run the command, and return its exit status."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        # not Hydra's help, which takes seconds to list the groups
        print(__doc__, *help.groups(), sep="\n")
        return 0
    # argparse refuses a flag among the overrides
    words = overrides.with_main_job(sys.argv[1:])
    sys.argv[1:] = sorted(words, key=lambda word: word not in {"-m", "--multirun"})
    try:
        main()
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        return 130
    except SystemExit as stop:
        if stop.code and not _composed:
            _explain(sys.argv[1:])
        raise
    if "qurating.pipeline.sweep" in sys.modules:  # not after --cfg, which runs nothing
        from qurating.pipeline.sweep import Sweep

        return int(Sweep.failed)
    return 0


def _explain(given: list[str]) -> None:
    """After Hydra refused a config: print the alternatives to each unknown key and choice."""
    with hydra.initialize(config_path="conf", version_base="1.3"):
        print(*help.explain(given), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(_command_line())
