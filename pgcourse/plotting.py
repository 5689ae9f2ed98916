"""Wing — plotting: figures of the book; each takes arrays and axes, and returns the axes."""
