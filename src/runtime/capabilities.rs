//! Capabilities: names, numbers, docker's default set.

/// A capability that does not exist, or that this kernel does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability `{0}`")]
pub struct Unknown(pub String);

/// The mask of docker's 14 defaults.
pub const DEFAULT: u64 = 0;

/// The number of a capability, with or without `CAP_`, in any case.
pub fn number(_name: &str) -> Option<u32> {
    todo!()
}

/// `CAP_CHOWN` for 0.
pub fn name(_number: u32) -> Option<&'static str> {
    todo!()
}

/// The mask of all capabilities that the running kernel knows.
pub fn all() -> u64 {
    todo!()
}

/// docker's rule: the defaults (all when `privileged`), then `add`, then `drop`; `ALL` in either.
pub fn choose(_add: &[String], _drop: &[String], _privileged: bool) -> Result<u64, Unknown> {
    todo!()
}
