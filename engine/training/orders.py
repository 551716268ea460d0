"""What ends work because somebody said so. Standard library only."""

from __future__ import annotations


class StopNow(Exception):  # an order, not an error
    """Training is to end at once, without saving."""


class StopBeforeTraining(Exception):  # an order, not an error
    """The run is to end, and no step has been taken that could be saved."""


class EvaluationCut(Exception):  # an order, not an error
    """The run is to stop and save: the rest of an evaluation is not waited for."""


ORDERS = (StopNow, StopBeforeTraining, EvaluationCut)
