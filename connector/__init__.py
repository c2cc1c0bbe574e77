"""The learnable interface between encoders and the language model, and how it is trained."""
