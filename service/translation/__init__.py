"""A text on its way: to sentences and jobs, through attempts at each of them, and back to a text."""
