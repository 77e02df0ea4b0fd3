import dataclasses
import json
import math
from collections import defaultdict

import numpy as np
import pytest

from aam_core import config
from aam_core.config import (
    ARCHITECTURE,
    COMMANDS,
    DEFAULT_PRESET,
    PRESETS,
    Architecture,
    BaseOptions,
    ColumnOptions,
    ForestConfig,
    ForestOptions,
    InputOptions,
    LossOptions,
    ModelOptions,
    OptimiserOptions,
    PredictConfig,
    PretrainConfig,
    TargetOptions,
    TrainConfig,
    resolve_architecture,
)
from aam_core.config.option import Options, OptionSpec, option_specs
from aam_core.errors import InputError

DECLARED = [
    pytest.param(command, spec, id=f"{command}-{spec.name}")
    for command, options in COMMANDS.items()
    for spec in option_specs(options)
]


def make(command, **options):
    """The options of a command, with the required ones filled in."""
    kind = COMMANDS[command]
    if issubclass(kind, ColumnOptions):
        options = {"metadata_column": "age"} | options
    return kind(**options)


def outside(spec: OptionSpec):
    """Values just outside of what is allowed."""
    if spec.choices:
        yield from ("nonsense", "", spec.choices[0] + "x")
    step = 1 if spec.type is int else 1e-9
    if spec.low is not None:
        yield spec.type(spec.low if spec.open_low else spec.low - step)
    if spec.high is not None:
        yield spec.type(spec.high if spec.open_high else spec.high + step)


def inside(spec: OptionSpec):
    """Values just inside."""
    yield from spec.choices or ()
    step = 1 if spec.type is int else 1e-9
    if spec.low is not None:
        yield spec.type(spec.low + step if spec.open_low else spec.low)
    if spec.high is not None:
        yield spec.type(spec.high - step if spec.open_high else spec.high)


@pytest.mark.parametrize(("command", "spec"), DECLARED)
def test_declaration(command, spec):
    assert spec.help == " ".join(spec.help.split())  # one line
    assert spec.help.endswith(".")
    assert spec.topic
    assert spec.type in (int, float, str, bool)
    assert spec.check(spec.default) == spec.default
    if spec.name != "metadata_column":
        chosen = getattr(make(command), spec.name)
        assert chosen == spec.default
        assert type(chosen) is type(spec.default)


@pytest.mark.parametrize(("command", "spec"), DECLARED)
def test_allowed_values_are_enforced(command, spec):
    for value in outside(spec):
        with pytest.raises(InputError) as error:
            make(command, **{spec.name: (value,) if spec.many else value})
        message = str(error.value)
        assert message.startswith(f"{spec.name} is ")
        shown = repr(value) if isinstance(value, str) else str(value)
        assert f" {shown}" in message
        assert spec.range_text in message
    for value in inside(spec):
        assert spec._check_one(value) == value


def test_something_is_enforced():
    limited = [p for p in DECLARED if list(outside(p.values[1]))]
    assert len(limited) > 0.7 * len(DECLARED)


def test_an_option_is_declared_once():
    groups = [
        kind
        for kind in vars(config).values()
        if isinstance(kind, type) and issubclass(kind, Options)
    ]
    declared = defaultdict(set)  # what is borrowed, is the very same declaration
    for group in groups:
        for name in vars(group).get("__annotations__", {}):
            if name != "topic":
                field = group.__dataclass_fields__[name]
                declared[name].add((id(field.metadata["help"]), field.default))
    again = {name: len(found) for name, found in declared.items() if len(found) > 1}
    # the front door's fraction is that of all samples, not of a fold's; a
    # cross-validation that ends early has whole folds, not the best model so far
    assert again == {"test_size": 2, "max_hours": 2}


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_survive_json(command):
    options = make(command)
    saved = json.loads(json.dumps(options.to_dict()))
    assert set(saved) == {spec.name for spec in option_specs(COMMANDS[command])}
    assert type(options)(**saved) == options


def test_specs_follow_the_declaration():
    specs = {spec.name: spec for spec in option_specs(TrainConfig)}
    quantiles = specs["quantiles"]
    assert (quantiles.type, quantiles.many, quantiles.optional) == (float, True, False)
    assert quantiles.shown_default == "0.1,0.5,0.9"
    assert quantiles.range_text == "> 0 and < 1"
    warmup = specs["warmup_steps"]
    assert (warmup.type, warmup.many, warmup.optional) == (int, False, True)
    assert warmup.shown_default == "a tenth of all steps"
    assert specs["embedding_dim"].shown_default == "128 (preset small)"
    assert specs["count_embedding"].shown_default == "true"
    assert specs["freeze_base"].shown_default == "false"
    assert specs["group_column"].shown_default == ""
    assert specs["rarefy_depth"].topic == "Input"
    assert specs["target_penalty"].topic == specs["task"].topic == "Target"


def test_unknown_options_and_changes_are_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        OptimiserOptions(learning_rate=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        OptimiserOptions().lr = 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), (7.0, 7), ("7", 7), (np.int64(7), 7), (np.float64(7), 7)],
)
def test_whole_numbers(value, expected):
    chosen = InputOptions(rarefy_depth=value).rarefy_depth
    assert chosen == expected
    assert type(chosen) is int


@pytest.mark.parametrize("value", [7.5, "7.5", "x", "", True, False, math.nan, [7]])
def test_what_is_no_whole_number(value):
    with pytest.raises(InputError, match=r"rarefy_depth is .* of type int") as error:
        InputOptions(rarefy_depth=value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", [1, 1.0, "1", "1e0", np.float32(1)])
def test_numbers(value):
    chosen = OptimiserOptions(lr=value).lr
    assert chosen == 1.0
    assert type(chosen) is float


@pytest.mark.parametrize("value", ["x", "", True, math.nan, "nan", [0.1]])
def test_what_is_no_number(value):
    with pytest.raises(InputError, match=r"lr is .* of type float"):
        OptimiserOptions(lr=value)


@pytest.mark.parametrize("value", [True, 1, np.True_, False, 0])
def test_booleans(value):
    chosen = BaseOptions(freeze_base=value).freeze_base
    assert chosen is bool(value)


@pytest.mark.parametrize("value", ["true", "False", "", 2, -1, 0.5, [1]])
def test_what_is_no_boolean(value):
    with pytest.raises(InputError, match=r"freeze_base is .* of type bool"):
        BaseOptions(freeze_base=value)


@pytest.mark.parametrize(
    "value", ["age,site", " age , site ", ["age", "site"], ("age", "site ")]
)
def test_lists_of_text(value):
    assert ColumnOptions(metadata_column=value).metadata_column == ("age", "site")


@pytest.mark.parametrize("value", ["0.25,0.5", [0.25, 0.5], ("0.25", 0.5)])
def test_lists_of_numbers(value):
    options = TargetOptions(
        metadata_column="age", loss_type="quantile", quantiles=value
    )
    assert options.quantiles == (0.25, 0.5)


def test_lists_check_each_element():
    with pytest.raises(InputError, match=r"quantiles is 1\.5, but must be > 0 and < 1"):
        TargetOptions(metadata_column="age", quantiles=(0.5, 1.5))
    with pytest.raises(InputError, match=r"metadata_column is 3, .* type str"):
        ColumnOptions(metadata_column=["age", 3])


@pytest.mark.parametrize("value", [None, "", (), []])
def test_an_empty_list(value):
    options = TargetOptions(metadata_column="age", normalize_by=value)
    assert options.normalize_by == ()


def test_none():
    assert OptimiserOptions(max_grad_norm=None).max_grad_norm is None
    assert OptimiserOptions(epochs=None).epochs is None
    with pytest.raises(InputError, match="weight_decay needs a value"):
        OptimiserOptions(weight_decay=None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: InputOptions(rarefy_depth=math.inf),
        lambda: OptimiserOptions(lr=math.inf),
        lambda: ForestOptions(max_features="inf"),
        lambda: TargetOptions(metadata_column="age", quantiles=0.5),
        lambda: ColumnOptions(metadata_column="age,,site"),
    ],
    ids=["int", "float", "max_features", "one number for a list", "an empty name"],
)
def test_values_that_nobody_means(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqrt", "sqrt"),
        ("log2", "log2"),
        (" log2 ", "log2"),
        ("0.3", 0.3),
        ("1.0", 1.0),
        ("1", 1),
        ("20", 20),
        ("20.0", 20),
    ],
)
def test_features_per_split(text, expected):
    chosen = ForestOptions(max_features=text).features_per_split()
    assert chosen == expected
    assert type(chosen) is type(expected)


def test_features_per_split_follow_the_task():
    for task, expected in (("regression", 1 / 3), ("classification", "sqrt")):
        config = ForestConfig(metadata_column="x", task=task)
        assert config.features_per_split() == expected


@pytest.mark.parametrize("text", ["", "all", "0", "0.0", "-1", "-0.5", "2.5", "nan"])
def test_features_per_split_errors(text):
    with pytest.raises(
        InputError, match=r"max_features is .*auto, sqrt, log2, a fraction"
    ) as e:
        ForestOptions(max_features=text)
    assert repr(text) in str(e.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metadata_column": ()}, "name the column to predict"),
        (
            {"metadata_column": "a,b", "task": "classification"},
            "predicts one column; metadata_column names 2",
        ),
        ({"target_transform": "zscore-category"}, "needs normalize_by"),
        ({"normalize_by": "site"}, "no effect with target_transform minmax"),
        ({"loss_type": "quantile", "quantiles": "0.1,0.9"}, r"must hold 0\.5"),
        ({"loss_type": "quantile", "quantiles": "0.5,0.1"}, "quantiles must rise"),
        ({"loss_type": "quantile", "quantiles": "0.5,0.5"}, "quantiles must rise"),
        ({"quantiles": "0.1,0.5"}, "choose loss_type quantile"),
        ({"over_penalty": 2}, "choose loss_type asymmetric"),
        ({"loss_type": "mae", "under_penalty": 2}, "leave under_penalty out"),
        ({"best_metric": "f1"}, "f1 does not fit a regression"),
        ({"best_metric": "balanced_accuracy"}, "does not fit a regression"),
        ({"task": "classification", "best_metric": "rmse"}, "does not fit a class"),
        ({"class_weights": "balanced"}, "class_weights has no effect with task regr"),
        ({"task": "classification", "loss_type": "mse"}, "leave loss_type out"),
        (
            {"task": "classification", "target_transform": "zscore"},
            "target_transform has no effect with task classification",
        ),
        ({"task": "classification", "loss_config": '{"0": "mse"}'}, "leave loss_confi"),
        ({"loss_config": "mse"}, "must be a JSON object"),
        ({"loss_config": '[["age", "mse"]]'}, "must be a JSON object"),
        ({"loss_config": "{}"}, "must be a JSON object"),
        ({"loss_config": '{"1": "mse"}'}, "'1', which is no target: .* 'age'"),
        ({"loss_config": '{"site": "mse"}'}, "'site', which is no target"),
        ({"loss_config": '{"age": "quantile"}'}, "allowed are huber, mse, mae"),
        ({"loss_config": '{"age": ["mse"]}'}, "allowed are huber, mse, mae"),
        ({"loss_config": '{"age": "mse", "0": "mae"}'}, "'age' twice"),
        ({"loss_config": '{"0": "mse", "0": "mae"}'}, "'age' twice"),
        (
            {"loss_type": "quantile", "loss_config": '{"0": "mse"}'},
            "cannot be combined with loss_type 'quantile'",
        ),
        (
            {"loss_type": "asymmetric", "loss_config": '{"0": "mse"}'},
            "cannot be combined with loss_type 'asymmetric'",
        ),
        (
            {"task": "classification", "best_metric": "mae"},
            "mae does not fit a classification",
        ),
    ],
)
@pytest.mark.parametrize("kind", [TargetOptions, TrainConfig])
def test_options_that_do_not_go_together(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind(**({"metadata_column": "age"} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bounded_targets": True, "output_activation": "exp"},
            "leave output_activation out, or bounded_targets",
        ),
        (
            {"bounded_targets": True, "target_transform": "zscore"},
            "choose minmax or log-minmax",
        ),
        (
            {"bounded_targets": True, "target_transform": "log-zscore"},
            "choose minmax or log-minmax",
        ),
        (
            {
                "output_activation": "relu",
                "target_transform": "zscore-category",
                "normalize_by": "site",
            },
            "one scale for all samples",
        ),
        ({"residual_regression_head": True}, "leave residual_regression_head out"),
        ({"regressor_dropout": 0.1}, "leave regressor_dropout out"),
        ({"regressor_hidden_dims": "64,0"}, "regressor_hidden_dims is 0"),
        ({"val_prediction_passes": 2}, "choose asv_sampling random"),
        *(
            ({"task": "classification", name: value}, f"leave {name} out")
            for name, value in {
                "bounded_targets": True,
                "output_activation": "relu",
                "learnable_output_scale": True,
                "regressor_hidden_dims": "8",
            }.items()
        ),
    ],
)
def test_output_options_that_do_not_go_together(options, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**({"metadata_column": "age"} | options))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalty", 2.0),
        ("nuc_penalty", 0.5),
        ("nuc_mask_ratio", 0.3),
        ("nuc_mask_strategy", "span"),
        ("count_prediction", True),
    ],
)
def test_a_frozen_base_learns_nothing_itself(name, value):
    with pytest.raises(InputError, match=f"{name} has no effect with freeze_base true"):
        TrainConfig(metadata_column="age", freeze_base=True, **{name: value})
    TrainConfig(metadata_column="age", **{name: value})
    PretrainConfig(**{name: value})


@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_how_abundances_join_needs_them(command):
    given = {} if command == "pretrain" else {"metadata_column": "age"}
    config, film = COMMANDS[command], {"count_embedding_method": "film"}
    for count_embedding in (None, True):
        config(count_embedding=count_embedding, **film, **given)
    with pytest.raises(InputError) as error:
        config(count_embedding=False, **film, **given)
    assert str(error.value) == (
        "count_embedding_method has no effect with count_embedding false, but with "
        "true: leave count_embedding_method out, or choose count_embedding true."
    )


def test_a_weight_without_its_loss():
    with pytest.raises(InputError, match=r"count_penalty has no .* count_prediction"):
        PretrainConfig(count_penalty=2.0)
    PretrainConfig(count_penalty=2.0, count_prediction=True)


def test_spread_needs_passes():
    with pytest.raises(InputError, match="at least two passes"):
        PredictConfig(output_variance=True, prediction_passes=1)
    PredictConfig(output_variance=True, prediction_passes=2)


def test_losses_of_targets():
    options = TargetOptions(
        metadata_column="a,b,1", loss_config='{"1": "mse", "0": "mae"}'
    )
    # a name goes before a position
    assert options.target_losses() == ("mae", "huber", "mse")


def test_options_that_do_go_together():
    TargetOptions(
        metadata_column="a,b",
        target_transform="zscore-category",
        normalize_by="site",
        loss_type="quantile",
        quantiles="0.05,0.5,0.95",
        best_metric="r2",
    )
    TargetOptions(metadata_column="a", task="classification", best_metric="f1")


def test_the_forest_needs_a_column():
    with pytest.raises(InputError, match="name the column to predict"):
        ForestConfig()


def test_abundance_is_read_and_the_warm_up_fits_small_studies():
    # Two defects of the peer: abundances ignored, 10,000 steps of warm-up.
    assert resolve_architecture(PretrainConfig()).count_embedding is True
    assert OptimiserOptions().warmup_steps is None
    assert LossOptions().unifrac_metric == "unweighted"


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_architecture_of_a_preset(preset):
    shared = ARCHITECTURE | {"max_bp": 253}
    expected = Architecture(**PRESETS[preset or DEFAULT_PRESET], **shared)
    options = ModelOptions(preset=preset)
    assert resolve_architecture(options, longest=253) == expected


def test_sequences_are_read_whole_up_to_a_length():
    def read(longest, **options):
        return resolve_architecture(ModelOptions(**options), longest=longest).max_bp

    assert read(253) == 253
    assert read(1_500) == 500
    assert read(0) == 1
    assert read(253, max_bp=1_500) == 1_500
    earlier = resolve_architecture(ModelOptions(), longest=150)
    assert resolve_architecture(ModelOptions(), earlier, 253).max_bp == 150


def test_single_options_override_the_preset():
    options = ModelOptions(
        preset="tiny", attention_layers=7, dropout=0, count_embedding=False
    )
    expected = dataclasses.replace(
        resolve_architecture(ModelOptions(preset="tiny")),
        attention_layers=7,
        dropout=0.0,
        count_embedding=False,
    )
    assert resolve_architecture(options) == expected


def test_heads_divide_the_width():
    with pytest.raises(InputError, match=r"embedding_dim 128 .* 5 attention_heads"):
        resolve_architecture(ModelOptions(attention_heads=5))


@pytest.fixture
def encoder():
    options = ModelOptions(preset="tiny", max_bp=99, dropout=0.3)
    return resolve_architecture(options)


def test_the_encoder_gives_the_architecture(encoder):
    assert resolve_architecture(ModelOptions(), encoder) == encoder
    same = ModelOptions(preset="tiny", max_bp=99)
    assert resolve_architecture(same, encoder) == encoder


def test_dropout_may_differ_from_the_encoder(encoder):
    changed = resolve_architecture(ModelOptions(dropout=0.0), encoder)
    assert changed == dataclasses.replace(encoder, dropout=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bp": 150}, "max_bp is 150, but the pre-trained encoder has 99"),
        ({"preset": "small"}, "embedding_dim is 128, .* encoder has 64"),
        ({"count_embedding": False}, "count_embedding is False, .* has True"),
        ({"preset": "tiny", "attention_layers": 3}, "attention_layers is 3, .* has 2"),
    ],
)
def test_options_that_contradict_the_encoder(encoder, options, message):
    with pytest.raises(InputError, match=message):
        resolve_architecture(ModelOptions(**options), encoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"nuc_penalty": 0, "nuc_mask_strategy": "span"},
            "nuc_mask_strategy has no effect with nuc_penalty 0",
        ),
        (
            {"nuc_penalty": 0, "nuc_mask_ratio": 0.3},
            "nuc_mask_ratio has no effect with nuc_penalty 0",
        ),
        (
            {"nuc_mask_ratio": 0, "nuc_penalty": 2.0},
            "nuc_penalty has no effect with nuc_mask_ratio 0",
        ),
    ],
)
def test_options_of_nucleotides_that_are_not_hidden(options, message):
    with pytest.raises(InputError, match=message):
        PretrainConfig(**options)
    PretrainConfig(nuc_penalty=0, nuc_mask_ratio=0)


#: Whole numbers that may be of any size: what is built or tried does not grow beyond
#: the data with them.
HARMLESS = {
    "asv_chunk_size",
    "batch_size",
    "gradient_accumulation_steps",
    "labels",
    "max_samples",
    "patience",
    "rarefy_depth",
    "scheduler_patience",
    "scheduler_t0",
    "scheduler_t_mult",
    "target_effective_batch_size",
    "token_limit",
    "warmup_steps",
}


def test_sizes_have_an_upper_limit():
    """So that a slip of the keyboard takes no hour and no memory."""
    specs = {s.name: s for kind in COMMANDS.values() for s in option_specs(kind)}
    without = {s.name for s in specs.values() if s.type is int and s.high is None}
    assert without == HARMLESS
    with pytest.raises(InputError, match="epochs is 1000000000, but must be"):
        PretrainConfig(epochs=10**9)
