"""The notes' own code of FRModel, as they print it: the oracle of `test_inception.py`.

Only the comments are left out. The test reads this file as text, too, and puts 1d or 3d for 2d.
"""

import torch
from torch import nn


class InceptionBlock(nn.Module):
    def __init__(self, in_channels, f1, f3_in, f3, f5_in, f5, pool_proj):
        super(InceptionBlock, self).__init__()  # noqa: UP008 - as printed

        self.branch1 = nn.Sequential(
            nn.Conv2d(in_channels, f1, kernel_size=1, bias=False), nn.BatchNorm2d(f1), nn.ReLU()
        )

        self.branch2 = nn.Sequential(
            nn.Conv2d(in_channels, f3_in, kernel_size=1, bias=False),
            nn.BatchNorm2d(f3_in),
            nn.ReLU(),
            nn.Conv2d(f3_in, f3, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(f3),
            nn.ReLU(),
        )

        self.branch3 = nn.Sequential(
            nn.Conv2d(in_channels, f5_in, kernel_size=1, bias=False),
            nn.BatchNorm2d(f5_in),
            nn.ReLU(),
            nn.Conv2d(f5_in, f5, kernel_size=5, padding=2, bias=False),
            nn.BatchNorm2d(f5),
            nn.ReLU(),
        )

        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            nn.Conv2d(in_channels, pool_proj, kernel_size=1, bias=False),
            nn.BatchNorm2d(pool_proj),
            nn.ReLU(),
        )

    def forward(self, x):
        return torch.cat(
            [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1
        )


class FRModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.inception_net = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 128, kernel_size=3, stride=1, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.Conv2d(128, 192, kernel_size=3, stride=1, padding=1, bias=False),
            nn.BatchNorm2d(192),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            InceptionBlock(192, 64, 96, 128, 16, 32, 32),
            InceptionBlock(256, 128, 128, 192, 32, 96, 64),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            InceptionBlock(480, 192, 96, 208, 16, 48, 64),
            InceptionBlock(512, 160, 112, 224, 24, 64, 64),
            InceptionBlock(512, 128, 128, 256, 24, 64, 64),
            InceptionBlock(512, 112, 144, 288, 32, 64, 64),
            InceptionBlock(528, 256, 160, 320, 32, 128, 128),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            InceptionBlock(832, 256, 160, 320, 32, 128, 128),
            InceptionBlock(832, 384, 192, 384, 48, 128, 128),
            nn.Conv2d(1024, 1024, kernel_size=1, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(1024),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
            nn.Linear(1024, 128),
        )

    def forward(self, x):
        return self.inception_net(x)
