"""What goes to the Hugging Face Hub: model folders that work without the package, Spaces, and the way there."""
