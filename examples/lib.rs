//! Programs to learn from, each a file of its own beside this one.
