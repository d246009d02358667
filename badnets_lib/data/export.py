"""Images out of an `ImageSet`, as a torch `Dataset`."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from .images import ImageSet, to_unit


class ImageDataset(Dataset[tuple[Float[Tensor, "c h w"], int]]):
    """The images of a set one by one, for anyone's `DataLoader`: (float image [C, H, W] in [0, 1], int label).

    Attributes:
        data: The set.
        classes: Its class names.
        targets: Its labels.

    Example:
        >>> data = ImageSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ("a", "b"))
        >>> image, label = data.as_dataset()[1]
        >>> image.shape, label
        (torch.Size([1, 4, 4]), 1)
    """

    def __init__(self, data: ImageSet) -> None:
        self.data = data
        self.classes = list(data.classes)
        self.targets = data.y.tolist()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> tuple[Float[Tensor, "c h w"], int]:
        place = range(len(self))[place]
        return to_unit(self.data.x[place : place + 1].clone())[0], self.targets[place]
