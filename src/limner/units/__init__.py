"""What a unit of a convnet sees: receptive fields, strongest patches, ideal pictures, sheets."""
