"""The loss: PyTorch's own where it has one, the same for soft targets, and focus; mixing of batches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from agecls.config import AugmentConfig, LossConfig
from agecls.learn.losses import ClassLoss
from agecls.learn.mixing import build_mixing

COUNTS = torch.tensor([80, 15, 5])


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(7, 3, generator=random) * 3, torch.randint(3, (7,), generator=random)


@given(st.integers(0, 999), st.floats(0, 0.9), st.sampled_from(["none", "inverse", "one-minus-share"]))
@settings(max_examples=40)
def test_whole_and_soft_targets_give_pytorchs_cross_entropy(seed: int, smoothing: float, kind: str) -> None:
    logits, targets = drawn(seed)
    loss = ClassLoss(LossConfig(label_smoothing=smoothing, class_weights=kind), COUNTS)
    expected = cross_entropy(logits, targets, loss.weight, label_smoothing=smoothing)
    assert torch.equal(loss(logits, targets), expected)
    torch.testing.assert_close(loss(logits, one_hot(targets, 3).float()), expected)


def test_focal_is_the_papers_formula() -> None:
    logits, targets = drawn(0)
    loss = ClassLoss(LossConfig(name="focal", gamma=3, label_smoothing=0), COUNTS)
    p = torch.softmax(logits, dim=1)[torch.arange(7), targets]
    torch.testing.assert_close(loss(logits, targets), (-((1 - p) ** 3) * p.log()).mean())
    weighted = ClassLoss(LossConfig(name="focal", gamma=3, label_smoothing=0, class_weights="inverse"), COUNTS)
    assert weighted.weight is not None
    of_each = weighted.weight[targets]
    torch.testing.assert_close(weighted(logits, targets), (-of_each * (1 - p) ** 3 * p.log()).sum() / of_each.sum())


def test_focal_gradient_stays_finite_where_the_network_is_sure() -> None:
    logits = torch.tensor([[1000.0, -1000.0, 0.0]], requires_grad=True)
    ClassLoss(LossConfig(name="focal", gamma=0.5), COUNTS)(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_soft_target_lies_between_its_classes() -> None:
    logits, _ = drawn(1)
    loss = ClassLoss(LossConfig(label_smoothing=0), COUNTS)
    one, other = (one_hot(torch.full((7,), each), 3).float() for each in (0, 2))
    torch.testing.assert_close(
        loss(logits, 0.3 * one + 0.7 * other), 0.3 * loss(logits, one) + 0.7 * loss(logits, other)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_mixup_blends_images_and_labels_by_one_share(channels: int) -> None:
    mixing = build_mixing(AugmentConfig(mixup=1.0), 4)
    assert mixing is not None
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, channels, 8, 8).contiguous()
    torch.manual_seed(0)
    mixed, shares = mixing(images, torch.arange(4))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))
    assert (shares.max(dim=1).values < 1).all()
    torch.testing.assert_close(mixed[:, 0, 0, 0], shares @ torch.arange(4.0))


def test_cutmix_pastes_a_box_and_shares_the_label_by_its_area() -> None:
    mixing = build_mixing(AugmentConfig(cutmix=1.0), 4)
    assert mixing is not None
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 16, 16).contiguous()
    torch.manual_seed(3)
    mixed, shares = mixing(images, torch.arange(4))
    assert set(mixed.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares @ torch.arange(4.0))
    assert (shares.max(dim=1).values < 1).all()


def test_share_of_mixed_batches_and_both_kinds() -> None:
    mixing = build_mixing(AugmentConfig(mixup=1.0, cutmix=1.0, mixed=0.5), 2)
    assert mixing is not None
    torch.manual_seed(0)
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    found = [mixing(images, torch.arange(2)) for _ in range(300)]
    touched = [mixed for mixed, targets in found if targets.dim() == 2]
    assert 110 < len(touched) < 190
    blended = sum(bool(((mixed > 0) & (mixed < 1)).any()) for mixed in touched)
    assert 0.3 < blended / len(touched) < 0.7


def test_mixing_is_off_by_default() -> None:
    assert build_mixing(AugmentConfig(), 4) is None
