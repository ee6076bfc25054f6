//! `--security-opt`, `--cap-add`, `--cap-drop`.

use std::io::Read as _;

use super::invalid;
use crate::engine::Result;
use crate::engine::request::SeccompChoice;
use crate::runtime::capabilities as caps;
use crate::runtime::seccomp::Profile;

/// Bytes of a seccomp profile; docker's own has 15 thousand.
const PROFILE_LIMIT: u64 = 1 << 20;

/// What all `--security-opt` together say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `systempaths=unconfined`: nothing of `/proc` and `/sys` is masked or made read-only.
    pub unmask_system_paths: bool,
}

/// Reads profiles named by `seccomp=FILE`, so that a later start does the same.
///
/// `apparmor=unconfined` and `label=disable` ask for what is always so: kelp puts no AppArmor profile and no
/// SELinux label on a container. Any other value of theirs is an error.
pub fn security_opts(values: &[String]) -> Result<SecurityOptions> {
    let mut found = SecurityOptions::default();
    for option in values {
        let fail = |reason: &str| invalid("security-opt", option, reason);
        let (key, value) =
            option.split_once(['=', ':']).map_or((option.as_str(), None), |(k, v)| (k, Some(v)));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => found.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => found.no_new_privileges = false,
            ("no-new-privileges", _) => return Err(fail("true and false are allowed")),
            ("seccomp", Some("unconfined")) => found.seccomp = SeccompChoice::Unconfined,
            ("seccomp", Some("builtin")) => found.seccomp = SeccompChoice::Default,
            ("seccomp", Some(path)) if !path.is_empty() => {
                found.seccomp = SeccompChoice::Profile(profile(option, path)?);
            }
            ("systempaths", Some("unconfined")) => found.unmask_system_paths = true,
            ("systempaths", _) => return Err(fail("only systempaths=unconfined is allowed")),
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor", _) => {
                return Err(fail("AppArmor profiles are not built; apparmor=unconfined is allowed"));
            }
            ("label", _) => return Err(fail("SELinux labels are not built; label=disable is allowed")),
            ("writable-cgroups", _) => return Err(fail("writable cgroups are not built yet")),
            _ => {
                return Err(fail(
                    "seccomp=FILE|unconfined, no-new-privileges[=true|false] and systempaths=unconfined are allowed",
                ));
            }
        }
    }
    Ok(found)
}

fn profile(option: &str, path: &str) -> Result<String> {
    let fail = |reason: String| invalid("security-opt", option, reason);
    let mut text = String::new();
    let file = std::fs::File::open(path)
        .map_err(|e| fail(format!("opening seccomp profile ({path}) failed: {e}")))?;
    file.take(PROFILE_LIMIT + 1).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    if text.len() as u64 > PROFILE_LIMIT {
        return Err(fail(format!("the profile has more than {PROFILE_LIMIT} bytes")));
    }
    Profile::parse(&text).map_err(|e| fail(e.to_string()))?;
    Ok(text)
}

/// `--cap-add` and `--cap-drop` values as `CAP_NAME` or `ALL`; unknown names are refused.
pub fn capabilities(values: &[String]) -> Result<Vec<String>> {
    values
        .iter()
        .map(|value| {
            if value.eq_ignore_ascii_case("ALL") || value.eq_ignore_ascii_case("CAP_ALL") {
                return Ok("ALL".to_owned());
            }
            let name = caps::number(value).and_then(caps::name).map(str::to_owned);
            name.ok_or_else(|| {
                invalid("capability", value, "unknown capability; names as in capabilities(7), and ALL")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opts(values: &[&str]) -> Result<SecurityOptions> {
        security_opts(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_works_or_says_why_not() {
        let all = opts(&["no-new-privileges", "seccomp=unconfined", "systempaths=unconfined"]).unwrap();
        assert!(all.no_new_privileges && all.unmask_system_paths);
        assert_eq!(all.seccomp, SeccompChoice::Unconfined);
        assert!(!opts(&["no-new-privileges", "no-new-privileges:false"]).unwrap().no_new_privileges);
        assert_eq!(opts(&["apparmor=unconfined", "label=disable"]).unwrap(), SecurityOptions::default());
        for bad in
            ["apparmor=x", "label=type:y", "seccomp=", "seccomp=/nonexistent", "foo", "no-new-privileges=x"]
        {
            assert!(opts(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_profile_is_read_and_checked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let option = format!("seccomp={}", file.path().display());
        assert!(opts(&[&option]).is_err(), "an empty file is no profile");
        let text = "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}";
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
        assert_eq!(opts(&[&option]).unwrap().seccomp, SeccompChoice::Profile(text.to_owned()));
    }

    #[test]
    fn capability_names() {
        let list = capabilities(&["net_admin".into(), "CAP_CHOWN".into(), "all".into()]).unwrap();
        assert_eq!(list, ["CAP_NET_ADMIN", "CAP_CHOWN", "ALL"]);
        assert!(capabilities(&["FLY".into()]).unwrap_err().to_string().contains("FLY"));
    }
}
