//! The one function that turns a request and an image's config into an OCI runtime spec.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use super::Result;
use super::request::CreateRequest;

/// What the spec needs to know of the container besides the request.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// 64 hex digits; the first twelve are the default host name.
    pub id: String,
    /// The container's directory, absolute: holds `hosts`, `hostname`, `resolv.conf`.
    pub directory: PathBuf,
    /// `/proc/PID/ns/pid` of the container that `--pid container:X` named.
    pub join_pid: Option<PathBuf>,
    pub join_ipc: Option<PathBuf>,
    pub join_uts: Option<PathBuf>,
}

/// Merges request and image config. From an image come `Env`, `Entrypoint`, `Cmd`, `WorkingDir` and `User`, and
/// nothing else reaches the spec.
pub fn build(
    _request: &CreateRequest,
    _image: Option<&oci_spec::image::Config>,
    _place: &Place,
) -> Result<Spec> {
    todo!()
}

/// Entry point and arguments after docker's merge rules; `no command specified` when nothing is left.
pub fn command(_request: &CreateRequest, _image: Option<&oci_spec::image::Config>) -> Result<Vec<String>> {
    todo!()
}

/// The container's host name: the one asked for, the host's with `--uts host`, else the short id.
pub fn hostname(_request: &CreateRequest, _place: &Place) -> Option<String> {
    todo!()
}

/// `/etc/hosts` as docker writes it.
pub fn hosts_file(_request: &CreateRequest, _place: &Place) -> String {
    todo!()
}

/// `/etc/resolv.conf` from the host's (given as text) and the `--dns*` options.
pub fn resolv_conf(_request: &CreateRequest, _host: &str) -> String {
    todo!()
}

/// The labels of the record: the image's, overridden by the user's. They reach nothing else.
pub fn labels(
    _request: &CreateRequest,
    _image: Option<&oci_spec::image::Config>,
) -> std::collections::BTreeMap<String, String> {
    todo!()
}
