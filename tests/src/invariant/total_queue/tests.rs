//! Histories that are wrong, and one that is not.
