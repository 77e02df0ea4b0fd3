"""The stepper goes on from its own state, and refuses what is not one."""

import copy

import pytest
import torch
from torch import nn

from aam_core.config import PretrainConfig
from aam_core.training.optimiser import Stepper

CPU = torch.device("cpu")


def stepper(**options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return Stepper(model, range(3), PretrainConfig(epochs=4, **options), CPU)


def stepped(made, times):
    for _ in range(times):
        weight = made.parameters[0]
        made.backward((weight**2).sum(), 1)
        made.step()
    return made


@pytest.mark.parametrize("scheduler", ["warmup_cosine", "plateau", "onecycle"])
def test_a_run_goes_on_as_if_nothing_had_been(scheduler):
    straight = stepped(stepper(scheduler=scheduler), 5)
    first = stepped(stepper(scheduler=scheduler), 2)
    second = stepper(scheduler=scheduler)
    with torch.no_grad():
        for own, before in zip(second.parameters, first.parameters, strict=True):
            own.copy_(before)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.lr == first.lr
    stepped(second, 3)
    assert second.lr == straight.lr
    assert torch.equal(second.parameters[0], straight.parameters[0])


@pytest.mark.parametrize(
    ("part", "place", "value"),
    [
        ("scheduler", ("_schedulers", 0, "_step_count"), [1]),
        ("scheduler", ("last_epoch",), None),
        ("scheduler", ("_schedulers", 0, "base_lrs"), [1e-3] * 3),
        ("scheduler", ("_schedulers",), 3),
        ("optimizer", ("param_groups", 0, "lr"), "x"),
        ("optimizer", ("param_groups", 0, "betas"), (0.9,)),
        ("optimizer", ("param_groups", 0, "weight_decay"), True),
        ("optimizer", ("param_groups",), []),
        ("scaler", (), 5),
    ],
)
def test_what_no_stepper_wrote_is_refused(part, place, value):
    state = copy.deepcopy(stepped(stepper(), 2).state_dict())
    stepper().load_state_dict(copy.deepcopy(state))
    if not place:
        state[part] = value
    else:
        at = state[part]
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value
    with pytest.raises(ValueError, match=f"the {part} is not what it was"):
        stepper().load_state_dict(state)
