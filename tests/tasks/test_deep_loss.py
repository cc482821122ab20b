"""Deep supervision: the loss of several resolutions against MONAI's, and in a training step."""

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceLoss

from selfmae.tasks.segment import deep_loss

LABELS = DiceCELoss(softmax=True, to_onehot_y=True)
REGIONS = DiceLoss(sigmoid=True)


def outputs_of(num_levels: int) -> list[torch.Tensor]:
    return [torch.randn(2, 3, 16 // 2**level, 16 // 2**level) for level in range(num_levels)]


def test_one_resolution_has_the_loss_as_it_is() -> None:
    outputs, target = outputs_of(1), torch.randint(0, 3, (2, 1, 16, 16))
    assert torch.equal(deep_loss(LABELS, outputs, target), LABELS(outputs[0], target))


@pytest.mark.parametrize("loss", [LABELS, REGIONS])
def test_several_resolutions_are_weighted_as_in_monai_with_a_sum_of_one(loss: torch.nn.Module) -> None:
    outputs = outputs_of(3)
    target = (
        torch.randint(0, 3, (2, 1, 16, 16)).float() if loss is LABELS else torch.randint(0, 2, (2, 3, 16, 16)) * 1.0
    )
    expected = DeepSupervisionLoss(loss, weights=[4 / 7, 2 / 7, 1 / 7])(outputs, target)  # type: ignore[arg-type]
    torch.testing.assert_close(deep_loss(loss, outputs, target), expected)
