//! `--pid`, `--ipc`, `--uts`. A mode of docker's that is not built is an error saying so.

use super::invalid;
use crate::engine::Result;
use crate::engine::request::NamespaceMode;

fn container(what: &'static str, mode: &str) -> Option<Result<NamespaceMode>> {
    let name = mode.strip_prefix("container:")?;
    Some(match name {
        "" => Err(invalid(what, mode, "the name of a container must follow `container:`")),
        name => Ok(NamespaceMode::Container(name.to_owned())),
    })
}

/// Empty, `host` or `container:NAME`.
pub fn pid(mode: &str) -> Result<NamespaceMode> {
    match mode {
        "" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => container("PID mode", mode)
            .unwrap_or_else(|| Err(invalid("PID mode", mode, "host and container:NAME are allowed"))),
    }
}

/// Empty, `none`, `private`, `shareable`, `host` or `container:NAME`. Every container's IPC namespace can be joined by
/// the same user's other containers, so private and shareable are the same thing.
pub fn ipc(mode: &str) -> Result<NamespaceMode> {
    match mode {
        "" | "private" | "shareable" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        "none" => Ok(NamespaceMode::None),
        _ => container("IPC mode", mode).unwrap_or_else(|| {
            Err(invalid("IPC mode", mode, "none, private, shareable, host and container:NAME are allowed"))
        }),
    }
}

/// Empty or `host`.
pub fn uts(mode: &str) -> Result<NamespaceMode> {
    match mode {
        "" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err(invalid("UTS mode", mode, "only host is allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(pid("container:x").unwrap(), NamespaceMode::Container("x".into()));
        assert_eq!(pid("").unwrap(), NamespaceMode::Private);
        assert!(pid("private").is_err());
        assert!(pid("container:").is_err());
        assert_eq!(ipc("shareable").unwrap(), NamespaceMode::Private);
        assert_eq!(ipc("none").unwrap(), NamespaceMode::None);
        assert!(uts("container:x").is_err());
    }
}
