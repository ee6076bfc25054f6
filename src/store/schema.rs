//! The tables and how they came to be.
