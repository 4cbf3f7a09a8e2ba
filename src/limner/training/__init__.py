"""Training: recipes, data, losses, miners, loops and reports, for faces, signals and volumes."""
