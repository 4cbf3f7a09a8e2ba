"""What a unit of a convnet sees: receptive fields, its strongest patches, ideal pictures, sheets."""
