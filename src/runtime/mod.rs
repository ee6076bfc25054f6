//! From an OCI runtime spec to a running process.
//!
//! [`plan`] decides everything before the fork, as pure data; the other files execute it step by step in the
//! container's first process. Knows no images, no store and no network stack.

pub mod capabilities;
pub mod from_spec;
pub mod plan;
pub mod seccomp;
pub mod user;
