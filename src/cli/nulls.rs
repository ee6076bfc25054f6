//! What docker's templates print of the fields that are `null` in its JSON.
//!
//! Go knows the type of an empty field: an empty list is `[]`, of length 0, and can be walked through; JSON knows
//! `null` only. Templates are given what Go would have, and their function `json` still says `null`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gotmpl::Value;

/// Lists of docker's types. The names mean the same wherever they stand.
const LISTS: &[&str] = &[
    "Aliases",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "Cmd",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "Links",
    "OnBuild",
    "Shell",
    "VolumesFrom",
];

/// Maps of docker's types.
const MAPS: &[&str] = &["Data", "DriverOpts", "ExposedPorts", "Labels", "Options", "Volumes"];

/// Texts of docker's types, left out of its JSON when empty.
const TEXTS: &[&str] = &["StopSignal"];

static LIST: LazyLock<Arc<[Value]>> = LazyLock::new(|| Arc::from(Vec::new()));
static MAP: LazyLock<Arc<BTreeMap<Arc<str>, Value>>> = LazyLock::new(Arc::default);

/// The `null` of this field; what is no list, map or text is a pointer.
pub(super) fn of(field: &str) -> Value {
    if LISTS.contains(&field) {
        Value::List(LIST.clone())
    } else if MAPS.contains(&field) {
        Value::Map(MAP.clone())
    } else if TEXTS.contains(&field) {
        Value::String("".into())
    } else {
        Value::Nil
    }
}

/// Whether this is a list or a map that [`of`] made, and not just an empty one.
pub(super) fn is(value: &Value) -> bool {
    match value {
        Value::List(list) => Arc::ptr_eq(list, &LIST),
        Value::Map(map) => Arc::ptr_eq(map, &MAP),
        _ => false,
    }
}

/// Makes an action that is nothing but a field print as Go's `print` does: a pointer to nothing is `<nil>` there,
/// and `<no value>` in the template engine.
pub(super) fn print_fields(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, after)) = after.split_once("}}") else { break };
        let inner = action.strip_prefix("- ").unwrap_or(action);
        let field = inner.trim();
        let chars = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        out.push_str(before);
        out.push_str("{{");
        if field.starts_with('.') && field.strip_suffix(" -").unwrap_or(field).trim_end().bytes().all(chars) {
            out.push_str(&action[..action.len() - inner.len()]);
            out.push_str("print ");
            out.push_str(inner);
        } else {
            out.push_str(action);
        }
        out.push_str("}}");
        rest = after;
    }
    out.push_str(rest);
    out
}
