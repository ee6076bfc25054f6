//! `version`, in docker's shape. There is no server: both halves are this program.

use serde::Serialize;

use super::info::{architecture, kernel_version};

/// What `docker version --format json` prints, as far as it applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    pub client: Half,
    pub server: Half,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Half {
    pub version: &'static str,
    pub os: &'static str,
    /// Go's name of the architecture (`amd64`).
    pub arch: &'static str,
    pub kernel_version: String,
}

pub fn version() -> Version {
    let half = Half {
        version: env!("CARGO_PKG_VERSION"),
        os: "linux",
        arch: architecture(),
        kernel_version: kernel_version(),
    };
    Version { client: half.clone(), server: half }
}
