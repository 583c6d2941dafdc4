"""One page on a rated corpus: what each criterion prefers, what each selection took, what to believe."""
