"""Plain and residual networks of 20 and 56 layers on digits: what docs/networks.md says.

Usage: ``python bench/degradation.py``; 14 epochs of four networks, minutes on one thread.
"""

from __future__ import annotations

from common import REPOSITORY, machine, save
from limner.training.degradation import digits, train_depths
from limner.training.network_plots import plot_degradation

EPOCHS, RATE, BATCH, SEED = 14, 0.02, 64, 0


def main() -> None:
    """Train, save and draw."""
    pictures = digits(seed=SEED)
    found = train_depths(
        pictures,
        epochs=EPOCHS,
        rate=RATE,
        batch=BATCH,
        seed=SEED,
        tell=lambda name, row: print(name, row, flush=True),
    )
    options = {"epochs": EPOCHS, "rate": RATE, "batch": BATCH, "seed": SEED}
    save(
        "degradation",
        {"pictures": pictures.what, **options, "networks": found, "machine": machine()},
    )
    plot_degradation(REPOSITORY / "docs" / "images" / "degradation.png", found)


if __name__ == "__main__":
    main()
