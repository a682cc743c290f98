"""A reward model: it learns from pairs which answer is the better one, and by how much."""
