//! `--userns`, in podman's words.

use super::invalid;
use crate::engine::Result;
use crate::engine::request::UsernsMode;

const WHAT: &str = "USER mode";
/// docker's largest id, as in [`crate::runtime::user`].
const LARGEST_ID: u32 = 0x7fff_ffff;

/// Empty and `host` (the one that all containers of this user share), `keep-id[:uid=N,gid=N,size=N]` or `nomap`.
pub fn userns(mode: &str) -> Result<UsernsMode> {
    let (word, options) = mode.split_once(':').map_or((mode, None), |(word, rest)| (word, Some(rest)));
    let refused = |reason: &str| Err(invalid(WHAT, mode, reason));
    match (word, options) {
        ("" | "host", None) => Ok(UsernsMode::Host),
        ("nomap", None) => Ok(UsernsMode::NoMap),
        ("keep-id", None) => Ok(UsernsMode::KeepId { uid: None, gid: None, size: None }),
        ("keep-id", Some(options)) => keep_id(mode, options),
        ("auto", _) => refused(
            "ids of its own for each container are not built: all containers of yours share one range of subordinate \
             ids; nomap keeps your own id out of the container",
        ),
        ("container" | "ns", Some(_)) => refused(
            "joining another user namespace is not built; containers without --userns are in one together",
        ),
        ("private", None) => refused("maps of one's own are not built; choose keep-id or nomap"),
        _ => refused("host, keep-id[:uid=N,gid=N,size=N] and nomap are allowed"),
    }
}

fn keep_id(mode: &str, options: &str) -> Result<UsernsMode> {
    let (mut uid, mut gid, mut size) = (None, None, None);
    for option in options.split(',') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let (field, least) = match name {
            "uid" => (&mut uid, 0),
            "gid" => (&mut gid, 0),
            "size" => (&mut size, 1),
            _ => return Err(invalid(WHAT, mode, "keep-id has the options uid=N, gid=N and size=N")),
        };
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let number = value.parse().ok().filter(|n| digits && (least..=LARGEST_ID).contains(n));
        let Some(number) = number else {
            return Err(invalid(
                WHAT,
                mode,
                format!("`{name}` must be a number from {least} to {LARGEST_ID}"),
            ));
        };
        if field.replace(number).is_some() {
            return Err(invalid(WHAT, mode, format!("`{name}` is given twice")));
        }
    }
    Ok(UsernsMode::KeepId { uid, gid, size })
}

impl UsernsMode {
    /// As one would type it.
    pub fn words(&self) -> String {
        let Self::KeepId { uid, gid, size } = self else {
            return if *self == Self::NoMap { "nomap" } else { "host" }.into();
        };
        let options = [("uid", uid), ("gid", gid), ("size", size)];
        let given: Vec<String> =
            options.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))).collect();
        if given.is_empty() { "keep-id".into() } else { format!("keep-id:{}", given.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_written() {
        for mode in ["host", "nomap", "keep-id", "keep-id:uid=5", "keep-id:uid=5,gid=6,size=7"] {
            assert_eq!(userns(mode).unwrap().words(), mode);
        }
        assert_eq!(userns("").unwrap(), UsernsMode::Host);
        assert_eq!(userns("keep-id:gid=0,uid=1").unwrap().words(), "keep-id:uid=1,gid=0");
    }

    #[test]
    fn what_is_not_built_says_why() {
        for mode in ["auto", "auto:size=5", "container:x", "ns:/proc/1/ns/user", "private"] {
            assert!(userns(mode).unwrap_err().to_string().contains("not built"), "{mode}");
        }
        for mode in [
            "keep-id:",
            "keep-id:uid",
            "keep-id:uid=",
            "keep-id:uid=-1",
            "keep-id:uid=+1",
            "keep-id:uid=2147483648",
            "keep-id:uid=1,uid=2",
            "keep-id:size=0",
            "keep-id:x=1",
            "keep-id,uid=1",
            "host:x",
            "nomap:x",
            "foo",
            "keep_id",
            "container",
            "KEEP-ID",
        ] {
            assert!(userns(mode).is_err(), "{mode}");
        }
    }
}
