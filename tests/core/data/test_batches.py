import dataclasses
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from aam_core.data.batches import BatchMaker, RowBatches, chunks_of, loader, start
from aam_core.data.masking import SPAN, Masking, mask_nucleotides
from aam_core.data.sequences import MASK, PAD, UNKNOWN

CPU = torch.device("cpu")


def maker(study, **options):
    options = {"token_limit": 100, "asv_sampling": "abundance"} | options
    return BatchMaker(study, **options)


def test_batch_holds_each_asv_once_and_all_counts(study):
    rows = [4, 0, 7]
    batch = maker(study)[0, rows]
    dense = study.table.counts.toarray()
    assert len(set(batch.features)) == len(batch.features)
    assert sorted(batch.features) == sorted(np.flatnonzero(dense[rows].sum(0)))
    for s, row in enumerate(rows):
        rebuilt = np.zeros(dense.shape[1])
        here = batch.present_SA[s]
        columns = batch.features[batch.index_SA[s][here].numpy()]
        rebuilt[columns] = batch.abundance_SA[s][here]
        np.testing.assert_allclose(rebuilt, dense[row] / 300, rtol=1e-6)
        assert (batch.abundance_SA[s][~here] == 0).all()
    np.testing.assert_array_equal(batch.tokens_UL, study.tokens_FL[batch.features])


def test_masked_nucleotides_are_hidden_and_kept_as_truth(study):
    batch = maker(study, masking=Masking(0.3))[1, range(10)]
    tokens = batch.tokens_UL.numpy()
    original = study.tokens_FL[batch.features]
    hidden = tokens == MASK
    assert hidden.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(tokens[~hidden], original[~hidden])
    rows, columns = batch.masked_row_M.numpy(), batch.masked_column_M.numpy()
    np.testing.assert_array_equal(np.nonzero(hidden), (rows, columns))
    np.testing.assert_array_equal(
        original[rows, columns] - 1, batch.masked_truth_M.numpy()
    )
    again = maker(study, masking=Masking(0.3))[1, range(10)]
    assert torch.equal(again.tokens_UL, batch.tokens_UL)
    other = maker(study, masking=Masking(0.3))[2, range(10)]
    assert not torch.equal(other.tokens_UL, batch.tokens_UL)


@pytest.mark.parametrize("strategy", ["random", "span"])
@pytest.mark.parametrize("ratio", [0.15, 0.5])
def test_mask_ratio_and_strategy(strategy, ratio):
    generator = np.random.default_rng(0)
    tokens = np.full((400, 150), 2, dtype=np.uint8)
    tokens[:, 100:] = PAD
    tokens[:, :5] = UNKNOWN
    masked = mask_nucleotides(tokens, Masking(ratio, strategy), generator)
    assert not masked[:, :5].any()
    assert not masked[:, 100:].any()
    inside = masked[:, 5 + SPAN : 100]
    assert inside.mean() == pytest.approx(ratio, abs=0.02)
    # Neighbours are hidden together with spans, independently without.
    both = (inside[:, 1:] & inside[:, :-1]).mean()
    if strategy == "random":
        assert both == pytest.approx(ratio**2, abs=0.02)
    else:
        assert both > 0.8 * ratio


def test_chunks_cover_everything_once():
    lengths = np.array([3, 3, 4, 5, 5, 5, 5])
    masked = np.array([0, 0, 2, 3, 6])
    chunks = chunks_of(lengths, 3, masked)
    assert [(c.start, c.stop) for c in chunks] == [(0, 3), (3, 6), (6, 7)]
    assert [c.length for c in chunks] == [4, 5, 5]
    assert [c.ragged for c in chunks] == [True, False, False]
    assert [(c.first_masked, c.last_masked) for c in chunks] == [(0, 3), (3, 4), (4, 5)]
    assert len(chunks_of(lengths, 0)) == 1


def test_token_limit_keeps_the_most_abundant(study):
    batch = maker(study, token_limit=5)[0, [2]]
    counts = study.table.counts[2].toarray()[0]
    kept = counts[batch.features]
    assert sorted(kept) == sorted(np.sort(counts)[-5:])


def test_random_asvs_change_with_the_epoch_only(study):
    limited = maker(study, token_limit=5, asv_sampling="random")
    first = set(limited[1, [2]].features)
    assert set(limited[1, [2, 3]].features) >= first
    assert set(limited[2, [2]].features) != first


@pytest.mark.parametrize("total", [1, 2, 8, 9, 16, 17])
def test_row_batches_cover_every_row_once(total):
    batches = RowBatches(np.arange(total), 8, shuffle=True, seed=1)
    parts = [rows for _, rows in batches]
    assert len(parts) == len(batches)
    assert sorted(np.concatenate(parts)) == list(range(total))
    assert total == 1 or min(map(len, parts)) >= 2


def test_row_batches_shuffle_by_epoch():
    batches = RowBatches(np.arange(50), 50, shuffle=True, seed=1)
    first = next(iter(batches))[1]
    batches.epoch = 1
    second = next(iter(batches))[1]
    assert not np.array_equal(first, second)
    batches.epoch = 0
    np.testing.assert_array_equal(next(iter(batches))[1], first)


def test_a_gpu_reads_pinned_memory(study, monkeypatch):
    rows = RowBatches(np.arange(10), 4, shuffle=True)
    made = maker(study, masking=Masking(0.2), distances=lambda r: np.ones((4, 4)))
    assert loader(made, rows, torch.device("cuda")).pin_memory
    assert not loader(made, rows, CPU).pin_memory
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(t) or t)
    batch = made[0, range(4)]
    assert batch.pin_memory().sizes == batch.sizes
    tensors = [v for v in vars(batch).values() if torch.is_tensor(v)]
    assert len(tensors) == len(pinned) == 9
    assert all(a is b for a, b in zip(tensors, pinned, strict=True))


def test_no_batch_goes_through_shared_memory(study, monkeypatch):
    """Of which a container has little: a worker that finds none fails in silence."""
    sent = maker(study, masking=Masking(0.2))[0, [1, 2]].packed()
    kinds = {type(value) for value in sent.content.values()}
    assert torch.Tensor not in kinds
    monkeypatch.setattr(
        "torch.multiprocessing.reductions.reduce_tensor",
        lambda tensor: pytest.fail("a tensor is sent"),
    )
    again = pickle.loads(ForkingPickler.dumps(sent)).unpacked()
    assert torch.equal(again.abundance_SA, sent.unpacked().abundance_SA)


def test_workers_make_the_same_batches(study):
    rows = RowBatches(np.arange(10), 4, shuffle=True)
    made = maker(study, masking=Masking(0.2))
    assert pickle.loads(pickle.dumps(made)).token_limit == 100
    alone = list(loader(made, rows, CPU))
    helped = list(start(loader(made, rows, CPU, workers=2)))
    assert len(alone) == len(helped) == 3
    for one, other in zip(alone, helped, strict=True):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            same = torch.equal(a, b) if isinstance(a, torch.Tensor) else np.all(a == b)
            assert same, field.name
