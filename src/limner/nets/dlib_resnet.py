"""dlib's face recognition network: a ResNet with 29 convolutions.

Source: Davis King, dlib's `dnn_face_recognition_ex` (2017): ResNet-34 (He et al. 2015) with
fewer layers and half the filters. The numbers and paddings were read from the weight file.
Differs: the per-channel affine layers are folded into the convolutions before them, so
the file's 59 tensors become 29 convolutions with bias and one matrix.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# Filters of the 14 residual blocks, and whether the block halves the picture.
BLOCKS: tuple[tuple[int, bool], ...] = (
    *(((32, False),) * 3),
    (64, True),
    *(((64, False),) * 3),
    (128, True),
    *(((128, False),) * 2),
    (256, True),
    *(((256, False),) * 2),
    (256, True),
)


class DlibBlock(nn.Module):
    """Convolution, ReLU, convolution, added to the input and passed through a ReLU.

    Where the block halves the picture, the first convolution has stride 2 and no padding,
    the shortcut is a 2x2 average pool, and the smaller of the two summands is filled up
    with zeros: channels of the shortcut, and the last row and column of the convolved side.

    Args:
        inputs: Channels in.
        outputs: Channels out, at least `inputs`.
        size: Height and width of the input in pixels.
        down: Whether the block halves the picture.
    """

    def __init__(self, inputs: int, outputs: int, *, size: int, down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            inputs, outputs, 3, stride=2 if down else 1, padding=0 if down else 1
        )
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool: nn.Module = nn.AvgPool2d(2) if down else nn.Identity()
        convolved = (size - 3) // 2 + 1 if down else size
        self.size = size // 2 if down else size
        self.missing_pixels = self.size - convolved
        self.missing_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, size, size) to (N, outputs, self.size, self.size)."""
        y = self.conv2(self.relu(self.conv1(x)))
        if self.missing_pixels:
            y = functional.pad(y, (0, self.missing_pixels, 0, self.missing_pixels))
        x = self.pool(x)
        if self.missing_channels:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.missing_channels))
        z: Tensor = self.relu(x + y)
        return z


class DlibResNet(nn.Module):
    """dlib's embedder, 5.6 million parameters, for chips of one fixed size.

    Args:
        size: Height and width of the chips in pixels; dlib's weights want 150.
    """

    def __init__(self, *, size: int = 150) -> None:
        super().__init__()
        self.size = size
        self.dim = 128
        self.conv = nn.Conv2d(3, 32, 7, stride=2)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, stride=2)
        side, inputs = ((size - 7) // 2 + 1 - 3) // 2 + 1, 32
        blocks = []
        for outputs, down in BLOCKS:
            block = DlibBlock(inputs, outputs, size=side, down=down)
            blocks.append(block)
            side, inputs = block.size, outputs
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(inputs, self.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embed chips.

        Args:
            x: Shape (N, 3, size, size), float: RGB in 0..255 minus dlib's mean, over 256.

        Returns:
            Shape (N, 128), not normalised to unit length (dlib's lie close to it).
        """
        x = self.blocks(self.pool(self.relu(self.conv(x))))
        y: Tensor = self.head(self.flatten(self.avgpool(x)))
        return y
