"""Random crops of images."""

import torch
from torch import Tensor


def random_crop(image: Tensor, height: int, width: int) -> Tensor:
    """Crop an image (C, H, W) at a random place, drawn on the CPU."""
    top = int(torch.randint(image.shape[1] - height + 1, ()))
    left = int(torch.randint(image.shape[2] - width + 1, ()))
    return image[:, top : top + height, left : left + width]
