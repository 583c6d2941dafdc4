"""The stages from judgments to ratings."""
