//! The verbs, one file per noun: typed request in, typed result out. No printing, no command-line parser.

pub mod request;
