import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from aam_core.config import METRICS, OptimiserOptions, PretrainConfig, TrainConfig
from aam_core.errors import InputError
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.reporting import progress
from aam_core.training import loop
from aam_core.training.loop import Objective, fit
from aam_core.training.optimiser import Stepper, make_optimizer, make_scheduler
from tests.one_weight import Numbers, weight

CPU = torch.device("cpu")


def objective(model, scores, select="val_loss"):
    scores = iter(scores)
    return Objective(
        model,
        lambda b: (((model.weight - b.value) ** 2).sum(), {}),
        lambda: {"val_loss": 1.0} | {select: next(scores)},
        select=select,
    )


def run(model, batches, scores, select="val_loss", **options):
    config = PretrainConfig(**options)
    lines = []
    result = fit(
        objective(model, scores, select), batches, config, CPU, report=lines.append
    )
    return result, lines


@pytest.mark.behaviour("patience")
def test_best_epoch_is_kept_and_patience_ends_training():
    scores = [3.0, 2.0, 2.5, 2.2, 2.1, 0.0]
    result, lines = run(weight(), Numbers([1, 2]), scores, epochs=6, patience=3)
    assert result.best_epoch == 2
    assert len(result.history) == 5
    assert "epoch 5" in lines[0]


def test_best_state_is_a_copy_of_its_epoch():
    seen = []
    model = weight()
    goal = objective(model, [])
    scores = iter([1.0, 0.5, 0.9])

    def validate():
        seen.append(model.weight.item())
        return {"val_loss": next(scores)}

    goal.validate = validate
    config = PretrainConfig(epochs=3, lr=0.1)
    result = fit(goal, Numbers([1, 2]), config, CPU, report=print)
    assert result.best_state["weight"].item() == seen[1] != seen[2]


def test_higher_is_better_for_r2():
    result, _ = run(weight(), Numbers([1]), [0.1, 0.7, 0.3], select="val_r2", epochs=3)
    assert result.best_epoch == 2


def test_a_score_that_is_never_defined_is_told():
    nothing = [math.nan, math.nan]
    result, lines = run(weight(), Numbers([1]), nothing, select="val_r2", epochs=2)
    assert result.best_epoch == 1
    assert any("val_r2 could not be computed in any epoch" in line for line in lines)


@pytest.mark.parametrize("task", METRICS)
def test_every_score_that_can_select_has_its_direction(task):
    """A perfect prediction is the best epoch, whichever score selects."""
    if task == "regression":
        true, poor = np.arange(6.0), np.array([4.0, 0, 1, 5, 2, 3])
        rows = [regression_metrics(true, predicted) for predicted in (poor, true)]
    else:
        true, poor = list("aabbcc"), list("abbcca")
        rows = [classification_metrics(true, predicted) for predicted in (poor, true)]
    for name in METRICS[task]:
        scores = [row[name] for row in rows] + [rows[0][name]]
        result, _ = run(weight(), Numbers([1]), scores, f"val_{name}", epochs=3)
        assert result.best_epoch == 2, name


def test_nan_scores_are_never_better():
    result, _ = run(
        weight(), Numbers([1]), [math.nan, 0.7, math.nan], "val_r2", epochs=3
    )
    assert result.best_epoch == 2


@pytest.mark.behaviour("gradient_accumulation_steps")
def test_accumulated_gradient_equals_one_large_batch():
    steps = []
    for values, group in (([1, 2, 3, 4], 4), ([2.5], 1)):
        model = weight()
        options = {"lr": 0.1, "optimizer": "sgd", "max_grad_norm": 0, "epochs": 1}
        run(
            model,
            Numbers(values),
            [1.0],
            gradient_accumulation_steps=group,
            weight_decay=0,
            **options,
        )
        steps.append(model.weight.item())
    assert steps[0] == pytest.approx(steps[1])
    assert steps[0] != 0


def test_the_gradient_of_a_shorter_last_group_is_the_mean_of_its_batches():
    """Two steps of gradient descent with momentum, by hand."""
    model = weight()
    options = {"lr": 0.1, "optimizer": "sgd", "max_grad_norm": 0, "weight_decay": 0}
    options |= {"scheduler": "plateau", "gradient_accumulation_steps": 2, "epochs": 1}
    run(model, Numbers([1, 3, 7]), [1.0], **options)
    first = 2 * (0 - (1 + 3) / 2)
    after_first = 0 - 0.1 * first
    second = 2 * (after_first - 7)
    expected = after_first - 0.1 * (0.9 * first + second)
    assert model.weight.item() == pytest.approx(expected)


def test_incomplete_group_is_a_step_of_its_own():
    model = weight()
    config = PretrainConfig(gradient_accumulation_steps=2, epochs=1)
    stepper = Stepper(model, Numbers([1, 2, 3]), config, CPU)
    assert stepper.steps == 2


def rates(config, steps):
    optimizer = make_optimizer(weight(), config)
    scheduler = make_scheduler(optimizer, config, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


@pytest.mark.behaviour("scheduler")
def test_warmup_cosine_reaches_the_peak_within_a_small_study():
    """A 100-sample study: 10 batches, 100 epochs; the peer's never left warm-up."""
    found = rates(OptimiserOptions(lr=1e-4), 1000)
    assert found.max() == pytest.approx(1e-4)
    assert found.argmax() == 100
    assert found[0] < 2e-6
    after = np.arange(900)
    cosine = 1e-4 * (1 + np.cos(np.pi * after / 900)) / 2
    np.testing.assert_allclose(found[100:], cosine, atol=1e-9)


@pytest.mark.behaviour("scheduler", "scheduler_t0")
def test_cosine_restarts():
    options = {"scheduler_t0": 10, "scheduler_t_mult": 2, "scheduler_eta_min": 1e-6}
    found = rates(OptimiserOptions(lr=1e-4, scheduler="cosine_restarts", **options), 70)
    assert list(np.flatnonzero(np.isclose(found, 1e-4))) == [0, 10, 30]
    assert found.min() >= 1e-6
    quarter = rates(OptimiserOptions(lr=1e-4, scheduler="cosine_restarts"), 100)
    assert list(np.flatnonzero(np.isclose(quarter, 1e-4))) == [0, 25, 75]


@pytest.mark.behaviour("scheduler_t0", "scheduler_t_mult", "scheduler_eta_min")
def test_restarts_grow_by_the_factor():
    options = {"scheduler_t0": 10, "scheduler_t_mult": 3, "scheduler_eta_min": 2e-5}
    found = rates(OptimiserOptions(lr=1e-4, scheduler="cosine_restarts", **options), 80)
    assert list(np.flatnonzero(np.isclose(found, 1e-4))) == [0, 10, 40]
    first = 2e-5 + 8e-5 * (1 + np.cos(np.pi * np.arange(10) / 10)) / 2
    np.testing.assert_allclose(found[:10], first)


@pytest.mark.behaviour("scheduler", "scheduler_eta_min", "lr")
def test_cosine_falls_to_the_lowest_rate():
    options = {"lr": 1e-2, "scheduler": "cosine", "scheduler_eta_min": 1e-3}
    found = rates(OptimiserOptions(**options), 50)
    expected = 1e-3 + 9e-3 * (1 + np.cos(np.pi * np.arange(50) / 50)) / 2
    np.testing.assert_allclose(found, expected)


@pytest.mark.behaviour("warmup_steps", "scheduler_eta_min")
def test_warmup_by_hand():
    options = {"lr": 1e-3, "warmup_steps": 4, "scheduler_eta_min": 1e-4}
    found = rates(OptimiserOptions(**options), 24)
    np.testing.assert_allclose(found[:5], np.array([1, 2, 3, 4, 5]) / 5 * 1e-3)
    after = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(20) / 20)) / 2
    np.testing.assert_allclose(found[4:], after)
    assert rates(OptimiserOptions(lr=1e-3, warmup_steps=0), 24)[0] == 1e-3


@pytest.mark.behaviour("scheduler", "lr")
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_onecycle_reaches_peak_and_ends_low(optimizer):
    config = OptimiserOptions(lr=1e-3, scheduler="onecycle", optimizer=optimizer)
    found = rates(config, 100)
    assert found.max() == pytest.approx(1e-3, rel=1e-2)
    assert 20 <= found.argmax() <= 40
    assert found[-1] < 1e-5


@pytest.mark.behaviour("epochs")
@pytest.mark.parametrize("scheduler", ["onecycle", "cosine_restarts", "warmup_cosine"])
@pytest.mark.parametrize("group", [2, 3])
def test_schedules_run_to_their_end_with_accumulation(scheduler, group):
    """OneCycle counts optimiser steps, not batches; the peer's crashed here."""
    options = {"scheduler": scheduler, "gradient_accumulation_steps": group}
    result, _ = run(weight(), Numbers([1, 2, 3, 4, 5]), [1.0] * 4, epochs=4, **options)
    assert len(result.history) == 4


@pytest.mark.behaviour("scheduler_min_lr")
def test_plateau_has_a_lowest_rate():
    options = {"scheduler_patience": 0, "scheduler_factor": 0.1, "lr": 0.1}
    options |= {"scheduler": "plateau", "scheduler_min_lr": 0.04, "epochs": 4}
    result, _ = run(weight(), Numbers([1]), [1.0] * 4, **options)
    found = [row["lr"] for row in result.history]
    assert found == pytest.approx([0.1, 0.1, 0.04, 0.04])


@pytest.mark.behaviour("scheduler", "scheduler_patience", "scheduler_factor")
def test_plateau_falls_when_the_score_does_not_improve():
    scores = [1.0, 1.0, 1.0, 1.0, 0.5, 0.4]
    options = {"scheduler_patience": 1, "scheduler_factor": 0.1, "lr": 0.1}
    options |= {"scheduler": "plateau", "scheduler_min_lr": 1e-3, "epochs": 6}
    result, _ = run(weight(), Numbers([1]), scores, **options)
    found = [row["lr"] for row in result.history]
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("name", ["warmup_steps", "scheduler_patience"])
def test_options_of_another_scheduler_are_refused(name):
    with pytest.raises(InputError, match=f"{name} has no effect"):
        OptimiserOptions(scheduler="cosine_restarts", **{name: 3})


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(InputError, match=r"10,000.*only 740 steps"):
        rates(OptimiserOptions(warmup_steps=10_000), 740)


@pytest.mark.behaviour("optimizer", "weight_decay", "lr")
@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", 2 - 0.1 * (4 + 0.5 * 2)),
        ("adam", 2 - 0.1),  # the first step of Adam is the sign of the gradient
        ("adamw", 2 * (1 - 0.1 * 0.5) - 0.1),
    ],
)
def test_the_first_step_by_hand(optimizer, expected):
    model = weight(2.0)
    options = {"optimizer": optimizer, "lr": 0.1, "weight_decay": 0.5}
    model.weight.grad = torch.tensor([[4.0]])
    make_optimizer(model, OptimiserOptions(**options)).step()
    assert model.weight.item() == pytest.approx(expected)


def test_weight_decay_spares_vectors():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    matrices, vectors = make_optimizer(model, OptimiserOptions()).param_groups
    assert matrices["weight_decay"] == 0.01
    assert vectors["weight_decay"] == 0
    assert len(matrices["params"]) == 1
    assert len(vectors["params"]) == 3


class Covariates(nn.Module):
    """One weight of the covariates, one that is not."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(1, 1, bias=False)
        self.fusion = nn.ModuleDict({"embeddings": nn.Linear(1, 1)})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


@pytest.mark.behaviour("categorical_lr")
@pytest.mark.parametrize("ratio", [0.1, 1, 20])
@pytest.mark.parametrize(
    ("scheduler", "more"),
    [
        ("warmup_cosine", {"scheduler_eta_min": 1e-3}),
        ("cosine", {"scheduler_eta_min": 1e-3}),
        ("cosine_restarts", {"scheduler_eta_min": 1e-3}),
        ("onecycle", {}),
        ("plateau", {"scheduler_patience": 0, "scheduler_min_lr": 1e-3}),
    ],
)
def test_categorical_lr_follows_every_schedule(scheduler, more, ratio):
    """Without momentum and at a constant gradient, moves are learning rates."""
    config = TrainConfig(
        metadata_column="x",
        categorical_columns="c",
        categorical_lr=0.1 * ratio,
        lr=0.1,
        optimizer="sgd",
        weight_decay=0,
        scheduler=scheduler,
        **more,
    )
    model = Covariates()
    optimizer = make_optimizer(model, config)
    for group in optimizer.param_groups:
        group["momentum"] = 0.0
    schedule = make_scheduler(optimizer, config, 20)
    moves = []
    for _ in range(20):
        before = [p.item() for p in model.parameters()]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        rate = optimizer.param_groups[0]["lr"]
        if scheduler == "onecycle":
            for group in optimizer.param_groups:
                group["momentum"] = 0.0  # it cycles momentum, too
        optimizer.step()
        schedule.step(*([1.0] if scheduler == "plateau" else []))
        after = [p.item() for p in model.parameters()]
        other, *own = (b - a for a, b in zip(after, before, strict=True))
        assert other == pytest.approx(rate, rel=1e-3)
        assert own == pytest.approx([ratio * rate] * 2, rel=1e-3)
        moves.append(rate)
    assert max(moves) > 1.5 * min(moves)


def test_without_categorical_lr_there_are_no_groups_for_covariates():
    config = TrainConfig(metadata_column="x", categorical_columns="c")
    assert len(make_optimizer(Covariates(), config).param_groups) == 2


@pytest.mark.behaviour("max_grad_norm")
def test_gradient_is_clipped():
    moves = []
    for norm in (0, 0.5):
        model = weight()
        options = {"optimizer": "sgd", "lr": 0.1, "warmup_steps": 0, "epochs": 1}
        run(model, Numbers([100]), [1.0], max_grad_norm=norm, weight_decay=0, **options)
        moves.append(model.weight.item())
    assert moves == pytest.approx([20.0, 0.05])


def test_infinite_loss_is_a_clear_error():
    with pytest.raises(InputError, match="no longer a finite number"):
        run(weight(), Numbers([math.inf]), [1.0], epochs=1)


def test_tensorboard_has_the_documented_tags(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    config = PretrainConfig(epochs=2)
    goal = objective(weight(), [1.0, 2.0])
    fit(goal, Numbers([1]), config, CPU, report=print, tensorboard=tmp_path)
    found = event_accumulator.EventAccumulator(str(tmp_path))
    found.Reload()
    tags = found.Tags()["scalars"]
    assert {"train/total_loss", "val/loss", "lr"} <= set(tags)
    assert [e.value for e in found.Scalars("val/loss")] == [1.0, 2.0]


def test_event_files_that_cannot_be_written_end_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    lines = []
    goal, there = objective(weight(), [1.0, 2.0]), tmp_path / "file" / "events"
    fit(
        goal,
        Numbers([1]),
        PretrainConfig(epochs=2),
        CPU,
        report=lines.append,
        tensorboard=there,
    )
    told = [line for line in lines if "event files cannot be written" in line]
    assert len(told) == 1


def test_the_progress_shows_how_long_all_models_may_take(monkeypatch):
    """Each epoch takes 7 s by this clock: of 3 epochs, and of two models after."""
    clock = iter(range(0, 700, 7))
    own = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(loop, "time", own)
    titles = []

    def bar(items, desc, **settings):
        titles.append(desc)
        return progress(items, **settings)

    monkeypatch.setattr(loop, "progress", bar)
    config = PretrainConfig(epochs=3)
    goal = objective(weight(), [1.0] * 3)
    fit(goal, Numbers([1]), config, CPU, report=print, models_after=2)
    assert titles == [
        "Epoch 1/3",
        "Epoch 2/3, at most 56 s left",
        "Epoch 3/3, at most 49 s left",
    ]
