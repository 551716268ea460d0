"""A run of several stages, as it is written: a list under `stages`, each entry with settings of its own.

What an entry sets goes over what the run sets for all its stages; what is the whole run's (`SHARED`) is set there only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.config.check import Setting, shown
from engine.config.methods import METHODS, OWN_SECTIONS
from engine.config.yaml_text import STAGES

SHARED = ("model", "lora", "launch")
"""Sections that a run has once: there is one model, one adapter and one process, whatever the stage."""
MOST_STAGES = 32
_NAME = re.compile(r"(?!(best|final|start)$)[a-z][a-z0-9_]{0,31}")
"""A part of file names and of RUN@STAGE, so nothing that a checkpoint could be called, and no dot or hyphen."""
_KEY = re.compile(rf"{STAGES}\.([^.]*)\.(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GivenStage:
    """One entry of the list, before anything is checked."""

    settings: Mapping[str, Setting]
    """By key, `section.name`: only what stands in it, or in its preset."""
    place: str
    """Where it was written: "run.yaml:12"."""
    name: str = ""
    """As written; empty: it is called like its method."""

    def called(self, common: Mapping[str, Setting]) -> str:
        """Return what it is called, beside the settings of the whole run."""
        return self.name or method_name(self.settings, common)

    def without(self, keys: Mapping[str, object]) -> GivenStage:
        """Return it without some of its settings."""
        return replace(self, settings={key: value for key, value in self.settings.items() if key not in keys})


def method_name(*layers: Mapping[str, Setting]) -> str:
    """Return the method of the first of some settings that name one."""
    for settings in layers:
        if "method.name" in settings:
            value = settings["method.name"].value
            return value if isinstance(value, str) else ""
    return "sft"


def is_shared(key: str) -> bool:
    """Whether a setting is the whole run's."""
    return key.partition(".")[0] in SHARED


def merged(above: Sequence[GivenStage], below: Sequence[GivenStage], common: Mapping[str, Setting]) -> list[GivenStage]:
    """Return the stages of `above`, each over the one of `below` with its name.

    One that says neither its name nor its method goes over the one at its place.
    """
    named = {stage.called(common): stage for stage in below}
    found = []
    for number, stage in enumerate(above):
        anonymous = not stage.name and "method.name" not in stage.settings
        under = below[number] if anonymous and number < len(below) else named.get(stage.called(common))
        if under is not None:
            settings = {**under.settings, **stage.settings}
            stage = replace(stage, settings=settings, name=stage.name or under.name)
        found.append(stage)
    return found


def for_stage(common: Mapping[str, Setting], stage: GivenStage, stages: Sequence[GivenStage]) -> dict[str, Setting]:
    """Return the settings of one stage, the run's below its own.

    What the run sets for a method reaches the stages of that method, as long as there is one.
    """
    method = METHODS.get(method_name(stage.settings, common))
    used = {
        section
        for other in stages
        if (about := METHODS.get(method_name(other.settings, common))) is not None
        for section in about.sections
    }
    idle = used.intersection(OWN_SECTIONS).difference(method.sections if method is not None else ())
    below = {key: setting for key, setting in common.items() if key.partition(".")[0] not in idle}
    return {**below, **stage.settings}


def problems_of(stages: Sequence[GivenStage], common: Mapping[str, Setting]) -> Iterator[str]:
    """Yield what is wrong with the list itself."""
    if len(stages) > MOST_STAGES:
        yield f"{STAGES} has {len(stages)} entries; there may be {MOST_STAGES}"
    mode, adapter = common.get("model.adapter_mode"), common.get("model.adapter")
    if len(stages) > 1 and mode is not None and mode.value == "stack" and adapter is not None and adapter.value:
        yield (
            f"{STAGES}: model.adapter_mode is stack, and what the first stage saves is both adapters as one, which the "
            f"next would train; use merge ({mode.place})"
        )
    seen: dict[str, str] = {}
    for number, stage in enumerate(stages):
        name = stage.called(common)
        if not _NAME.fullmatch(name):
            if stage.name or name:
                yield (
                    f"{STAGES}: {shown(name)} cannot be the name of a stage: small letters, digits and _, a letter "
                    f"first; not best, final or start ({stage.place})"
                )
        elif name in seen:
            yield f"{STAGES}: two are called {name}; give them a name ({seen[name]}, {stage.place})"
        else:
            seen[name] = stage.place
        for key, setting in stage.settings.items():
            if is_shared(key):
                yield (
                    f"{STAGES}: {key} stands in {name}, but a run has one {key.partition('.')[0]} for all its stages; "
                    f"write it outside of them ({setting.place})"
                )
        yield from _compares_with_base(number, name, {**common, **stage.settings})


def _compares_with_base(number: int, name: str, settings: Mapping[str, Setting]) -> Iterator[str]:
    """Yield why a later stage cannot be one of these: what they compare with is not where it begins."""
    method = method_name(settings)
    kept = settings.get("unlearning.retain_loss")
    by_divergence = method in METHODS and METHODS[method].pushes_away and kept is not None and kept.value == "kl"
    if number and (method == "npo" or by_divergence):
        compares = method if method == "npo" else "unlearning.retain_loss: kl"
        yield (
            f"{STAGES}: {name} is no first stage, and {compares} compares with the base, the adapter off, where it "
            f"does not begin; make it the first ({settings['method.name'].place})"
        )


def assigned(key: str) -> tuple[str, str] | None:
    """Return stage and setting of `stages.NAME.section.name`; None for any other key."""
    match = _KEY.fullmatch(key)
    return (match[1], match[2]) if match else None
