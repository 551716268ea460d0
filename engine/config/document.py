"""`docs/configuration.md`, written from the declaration: `python -m engine.config.document > docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.config import trainer_options
from engine.config.declaration import TRAINER, section_help, sections, settings
from engine.config.methods import CONFIG_CLASSES
from engine.config.presets import presets
from engine.config.yaml_text import write_value

_HEAD = """\
# Configuration

<!-- Written by `python -m engine.config.document`; change the declaration in `engine/config/model.py` instead. -->

A run is described by a YAML file of sections. Everything has a default but `data.train`:

```yaml
model:
  name: Qwen/Qwen2.5-1.5B-Instruct
data:
  train: my/answers.jsonl
training:
  learning_rate: 2e-4
```

`ftconsole train FILE` starts it; `--set training.learning_rate=1e-4` changes one setting, `--dev` learns from
`data.dev` alone for one epoch. Unknown keys, wrong types and contradictions are refused, all of them at once.

- Where a value may be `auto` it is decided from the number of training rows, the model and the machine. The tables by
  number of rows are left only where they would do harm: a length that would cut more than a hundredth of the rows grows
  with them, a batch that does not fit into the free memory is halved, at the same rows per step. The run's own
  `run.yaml` has every value as it was used, with a comment that says whether it was given, from a preset, a default, or
  automatic and why. It can be given to `ftconsole train` again.
- Paths are looked for in the workspace, then in the current folder, then among the samples that came with the program.
- Files are read by the rules of YAML 1.2: `2e-4` is a number; `yes`, `no`, `on` and `off` are texts.
  Tags and aliases are refused.
"""


_LAUNCH = """\
Several processes train as one: a step learns from `per_device_train_batch_size` x `gradient_accumulation_steps` x
`num_processes` rows, and automatic values, the number of steps and estimates count so. The figures of a step are those
that one process has from the same rows, to the last of the six or seven digits of float32, without dropout; all
processes draw the same random numbers. The last batches of an epoch, and of an evaluation, are filled up with rows from
the beginning where they cannot be shared evenly, so that a loss of validation may differ by some tenths of a percent.

- The first process speaks, saves and hears commands; they reach all. It answers prompts and asks suites while the
  others wait. A process that fails or is killed ends all, with its own error in the run's record.
- `num_processes: 4` with `model.device: cuda` takes the first 4 visible GPUs (`CUDA_VISIBLE_DEVICES` chooses them).
  With one process and several GPUs, `model.device: auto` takes the one with the most free memory.
- A resume with another number of processes takes the same steps, but deals rows and random numbers anew, and says so.
- fsdp and deepspeed are for `sft` and `refusal` on GPUs, without what asks the whole model (prompts, suite, gauge). A
  checkpoint of theirs is meant to be an ordinary adapter, for one device. They were not tried: no machine with two GPUs
  was at hand. ddp was, on processors.

What is seen, and what to do:

- "puts 2 processes on 1 GPU": each needs one of its own. As many processes as GPUs, or `model.device: cpu`.
- "was killed by signal 9": mostly the system, for memory. A smaller batch, fewer processes, a smaller model.
- "Connection closed by peer" alone: a process of another machine died. The end of that machine's `worker-N.log`.
- Machines that do not find each other: a firewall, or another network than the one meant.
  `launch.main_process_ip` and `main_process_port` say where; the variables `GLOO_SOCKET_IFNAME` and
  `NCCL_SOCKET_IFNAME` name the network.
- "Expected to have finished reduction": a mixture of experts left some out in a step.
  `trainer: {ddp_find_unused_parameters: true}`.
"""


_STAGES = """\
## stages

One run may have several stages: SFT, then DPO on its result, or any list of methods.

```yaml
model:
  name: Qwen/Qwen2.5-1.5B-Instruct
stages:
  - data:
      train: answers.jsonl
  - method:
      name: dpo
    data:
      train: pairs.jsonl
    training:
      learning_rate: 5e-6
```

- An entry has sections of settings, and may have a `name` (else it is called like its method) and a `preset`; a
  method alone (`- dpo`) is one too. What it sets goes over what stands outside, which is for all stages. What a file
  writes goes over what any preset says.
- `model`, `lora` and `launch` stand outside: a run has one model, one adapter and one way to be launched. What stands
  outside for a method (`dpo:`) is for the stages of that method.
- Below a preset with stages, an entry goes over the preset's of the same name; one that says neither name nor method
  over the one at its place.
- `--set data.limit=100` is for all stages, `--set stages.dpo.data.train=pairs.jsonl` for one (or `stages.2.`).
- Automatic values are decided for each stage from its own rows, those of `lora` from the first stage's. The data of
  all stages is checked before the first begins.
- Each stage begins with the adapter that the one before ended with, after its last step, with a new optimizer and
  schedule. `dpo.reference` and `kto.reference` say whether it is compared with that or with the base; `npo` and
  `unlearning.retain_loss: kl` can only be the first.
- Early stopping ends its stage, and the next begins; a retain floor and the alarm of forgetting end the run. `best/`,
  `final/` and `saving.promote` are the last stage's; what the others ended with is `stages/NAME/`, `RUN@NAME` for
  every command. Held-out questions are those of all stages, asked before the first and after the last.
"""

_DPO = """\
With p the model's and p_ref the reference's probability of a whole answer, sigmoid is

```
margin = beta (log (p / p_ref)(chosen) - log (p / p_ref)(rejected))     rewards/margins; above 0: rewards/accuracies
loss   = -log sigmoid(margin)                                           begins at ln 2 = 0.69, with an accuracy of 50 %
```

- It asks for a difference, and says nothing of the chosen answer itself. A loss near 0 and an accuracy of 100 % are
  reached as well by a model that has unlearned to speak: its rejected answers were pushed away, and all others with
  them. `logps/chosen`, what the chosen answers are worth to the model in nats, tells the two apart. A run warns where
  it has fallen by as much as it began with, and by 10 nats: take an earlier checkpoint, a lower
  `training.learning_rate`, a higher `beta` or fewer epochs, and ask the model (`ftconsole compare`, `chat`) before
  you believe a curve.
- Below 0.3 the preference is learned, below 0.2 well learned; with an accuracy above 70 % and 80 %.
"""

_UNLEARNING = """\
A step minimises objective + `retain_weight` * kept. With p the model's and p_base the base's probability of a whole
answer, and NLL the mean negative log-likelihood of the answers' tokens, the objective on the rows to unlearn is

```
gradient_ascent, grad_diff   -NLL                                             no lower bound but `ascent_limit`
npo                          (2 / beta) mean log(1 + (p / p_base)^beta)       begins at (2 / beta) ln 2, tends to 0
simnpo                       -(2 / beta) mean log sigmoid(-(beta / tokens) log p - gamma)
```

and `kept` the NLL of the rows to retain, or with `retain_loss: kl` the divergence of the model from the base on them.

- `npo` ends by itself: an answer that is unlikely enough is pushed no further. Begin with it. Its objective has to come
  down to nearly 0, and then take as many passes again: what is forgotten first is the phrasing that was trained on,
  and other phrasings of the same question follow later. Where they do not, lower `beta`, train for more epochs, or put
  more phrasings of each question into the rows.
- `grad_diff` has no end but the one `ascent_limit` gives it. The gradient of a token is 1 - p: next to none where the
  model is sure, and all of it where everything is forgotten. So `unlearn_loss` stands still for some twenty steps, then
  rises by whole nats for what went first, which takes the steps from other answers, still said word for word, and from
  the rows to retain. With a limit of some 5 nats (a chance of 0.7 %) a token that is forgotten is left alone, and what
  is to be kept recovers.
- npo adds up an answer's tokens, the others take their mean: with answers of ten tokens, a `retain_weight` of 5 with
  npo weighs as much as one of 0.5 with `grad_diff`.
- Both losses are curves; `retain_floor` and `forgetting.gauge` stop a run that takes too much with it. What counts is
  what the model says to questions it was not trained on: the held-out questions, and the `temporal` suite.
"""

_EARLY_STOPPING = """\
Let y(1) ... y(w) be the newest `window` observations of the metric, oldest first, with the sign turned where high
values are good. A straight line a + b i is fitted to them by least squares; s is the standard deviation of what it
leaves, with w - 2 degrees of freedom. Then

```
drop  = -b (w - 1)                                  what the metric fell over the window, along the line
noise = 2 s (w - 1) / sqrt(sum (i - (w + 1) / 2)^2)   twice the standard error of that drop
share = drop / |a + b|                              the drop, as a fraction of where the window began
```

and `drop` ends the run when **share < `min_drop`** and **drop <= noise** and **exposure >= `minimum_exposure`**. A
metric that falls little but steadily is not stopped, for its drop stands out from its noise; one that jumps is not
stopped either, as long as it falls by `min_drop`; one that rises is. The exposure is how often each training row has
been seen: after e passes over the rows, in whatever order, each has been seen floor(e) times at least.
`patience` ends the run after so many observations that did not improve on the best one by `min_drop` of it, `threshold`
when the metric is at the value or better; both wait for the exposure too. The run then finishes as after its last step.

With warm restarts (`training.lr_scheduler_type: cosine_with_restarts`, `trainer.lr_scheduler_kwargs: {num_cycles: N}`)
the last observation of each cycle counts and no other: every cycle begins with a rise that is meant. `window` and
`patience` are then numbers of cycles.
"""

_FORGETTING = """\
Let x be the tokens of the probe that are scored, N of them: of a plain text all but the first, of a question with an
answer those of the answer. Then

```
eval_forgetting = (1 / N) sum (log p_base(x) - log p_model(x))
```

in nats per token: the model's mean loss on the probe minus that of the base before any adapter was put on it. It is 0
where nothing has changed, and exp(eval_forgetting) is how much higher the model's perplexity is. The base is the one
the run stands on: with `model.adapter_mode: merge` what was learned before belongs to it, with `continue` the first
value says what the earlier adapter had changed already. The base's loss is measured once and kept in the run
(`forgetting.json`), so that a resume compares with the same; texts are cut at 1,024 tokens. `saving.best_metric` and
`early_stopping.metric` may be `eval_forgetting`. When the alarm ends a run, `final/` holds the weights as they are
then; the checkpoints of before are there.
"""


def document() -> str:
    """Return the text of `docs/configuration.md`."""
    parts = [_HEAD, _presets(), _STAGES]
    for section in sections():
        rows = [setting for setting in settings().values() if setting.section == section]
        parts.append(f"## {section}\n\n{section_help(section)}\n")
        parts.append(_table(("key", "accepts", "default", "meaning"), [
            (f"`{row.name}`", _cell(row.accepts), _default(row.default), _cell(row.description)) for row in rows
        ]))  # fmt: skip
        if section == "dpo":
            parts.append(_DPO)
        if section == "unlearning":
            parts.append(_UNLEARNING)
        if section == "early_stopping":
            parts.append(_EARLY_STOPPING)
        if section == "forgetting":
            parts.append(_FORGETTING)
        if section == "launch":
            parts.append(_LAUNCH)
    parts.append(
        f"## {TRAINER}\n\n{section_help(TRAINER)} These are passed on as they are; the words are the libraries'.\n"
    )
    parts.append(_table(("key", "of", "accepts", "default", "meaning"), [
        (f"`{option.name}`", _trainers(option.name), _cell(trainer_options.in_words(option)), _default(option.default),
         _cell(option.help))
        for option in trainer_options.options().values()
    ]))  # fmt: skip
    parts.append("`of` names the methods whose trainer has it; the unlearning methods are with sft.\n")
    parts.append("Refused there, because another setting or the console decides them:\n")
    parts.append(_table(("key", "why"), [
        (f"`{name}`", _cell(trainer_options.why_owned(name) or "")) for name in sorted(trainer_options.OWNED)
    ]))  # fmt: skip
    return "\n".join(parts)


def _trainers(option: str) -> str:
    having = [trainer for trainer in CONFIG_CLASSES if option in trainer_options.options(trainer)]
    return "all" if len(having) == len(CONFIG_CLASSES) else ", ".join(having)


def _presets() -> str:
    rows = [(f"`{preset.name}`", _cell(preset.summary)) for preset in presets()]
    intro = "## Presets\n\n`preset: NAME` at the top of a file puts a preset below its settings.\n\n"
    return intro + _table(("preset", "for"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _default(value: Any) -> str:
    return f"`{write_value(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(document(), end="")
