//! The image config: what the image says about itself, in the OCI format with docker's additions.
//!
//! Its digest is the image's id, so a config that was received is kept as it came; this type is for reading it
//! and for writing new ones. Fields that are not named here have no effect.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Digest, Error, MAX_LAYERS, Platform, limit, parse_document};

/// An image config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub config: ContainerConfig,
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The docker that made it, if one did.
    #[serde(default, deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// docker's comment on an imported or committed image.
    #[serde(default, deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Defaults for the containers made from an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`; the values are empty objects.
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `KEY=VALUE`.
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// `{}`: Go's `struct{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// docker's `HEALTHCHECK`. Times are nanoseconds; 0 is docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub diff_ids: Vec<Digest>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(deserialize_with = "super::null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads a config, bounded.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "image config";
        let config: Self = parse_document(WHAT, bytes)?;
        limit(WHAT, "layers", config.rootfs.diff_ids.len(), MAX_LAYERS)?;
        if config.rootfs.kind != "layers" {
            return Err(Error::Malformed { what: WHAT, reason: "`rootfs.type` is not `layers`".into() });
        }
        Ok(config)
    }

    /// The document whose digest is the image's id.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and maps of strings are always JSON")
    }

    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_with_nulls() {
        let text = r#"{"architecture":"amd64","config":{"Hostname":"","Env":["PATH=/bin"],"Cmd":["sh"],
          "Volumes":null,"Entrypoint":null,"OnBuild":null,"Labels":null,"ExposedPorts":{"80/tcp":{}},
          "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000}},
          "created":"2024-05-22T18:18:12.052034407Z","os":"linux",
          "history":[{"created":"2024-05-22T18:18:11Z","created_by":"/bin/sh -c x","empty_layer":true}],
          "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.cmd, ["sh"]);
        assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 1_000_000_000);
        assert!(config.config.exposed_ports.contains_key("80/tcp"));
        let again = ImageConfig::parse(config.to_json().as_bytes()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn bad_ones_are_refused() {
        for bad in [
            r#"{}"#,
            r#"{"architecture":"a","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:../x"]}}"#,
            r#"{"architecture":"a","os":"linux","rootfs":{"type":"x","diff_ids":[]}}"#,
            r#"{"architecture":"a","os":"linux","created":"yesterday","rootfs":{"type":"layers"}}"#,
        ] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
