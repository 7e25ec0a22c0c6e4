"""What is so on a box, read once; judged elsewhere, by pure functions."""
