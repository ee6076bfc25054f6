//! `--user`, `--workdir`, `--stop-signal`, `--detach-keys`, `--platform`, `--rootfs`.

use std::path::Path;

use super::invalid;
use super::mounts::NO_DIRECTORY;
use crate::engine::Result;
use crate::engine::request::RootfsSource;
use crate::shim::terminal::DetachKeys;

/// Index + 1 = number; the same on x86_64 and aarch64.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// What the C library leaves to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// One of docker's forms (`name`, `uid`, `name:group`, `uid:gid`), checked for what no image could resolve.
pub fn user(user: &str) -> Result<String> {
    let sound = user.len() <= 512 && !user.chars().any(char::is_control) && user.matches(':').count() <= 1;
    if !sound {
        return Err(invalid("user", user, "NAME|UID[:GROUP|GID] is allowed"));
    }
    Ok(user.to_owned())
}

/// An absolute path inside the container.
pub fn workdir(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(invalid("working directory", path, "it needs to be an absolute path"));
    }
    Ok(path.to_owned())
}

/// The number of a signal: `KILL`, `SIGKILL`, `9`, `RTMIN+3`, any case.
pub fn signal(signal: &str) -> Result<i32> {
    let fail =
        || invalid("signal", signal, "a name such as TERM or SIGTERM, or a number from 1 to 64, is allowed");
    if signal.bytes().all(|b| b.is_ascii_digit()) {
        return signal.parse().ok().filter(|n| (1..=RTMAX).contains(n)).ok_or_else(fail);
    }
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = (1..).zip(SIGNALS).find(|(_, known)| *known == name).map(|(n, _)| n) {
        return Ok(number);
    }
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => text
            .strip_prefix(sign)
            .filter(|t| t.len() <= 2 && t.bytes().all(|b| b.is_ascii_digit()))?
            .parse()
            .ok(),
    };
    let number = match (name, name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        ("IOT", ..) => Some(6),
        ("CLD", ..) => Some(17),
        ("POLL", ..) => Some(29),
        (_, Some(rest), _) => offset(rest, '+').map(|n: i32| RTMIN + n),
        (_, _, Some(rest)) => offset(rest, '-').map(|n: i32| RTMAX - n),
        _ => None,
    };
    number.filter(|n| (1..=31).contains(n) || (RTMIN..=RTMAX).contains(n)).ok_or_else(fail)
}

/// [`signal`] checked, the text kept as typed.
pub fn stop_signal(text: &str) -> Result<String> {
    signal(text).map(|_| text.to_owned())
}

/// The detach keys as typed, checked: docker's syntax; the empty text is no way out.
pub fn detach_keys(keys: &str) -> Result<String> {
    DetachKeys::parse(keys)?;
    Ok(keys.to_owned())
}

/// The machine in the words of OCI.
fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `OS[/ARCH[/VARIANT]]` or an architecture alone, normalised as docker does; what this machine cannot run is
/// refused.
pub fn platform(platform: &str) -> Result<String> {
    let lower = platform.to_ascii_lowercase();
    let mut parts: Vec<&str> = lower.split('/').collect();
    if parts.len() == 1 && parts[0] != "linux" {
        parts.insert(0, "linux");
    }
    let architecture = match parts.get(1).copied().unwrap_or(machine()) {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        other => other,
    };
    let runs = architecture == machine() || (machine() == "amd64" && architecture == "386");
    let variant = match (architecture, parts.get(2).copied()) {
        (_, None) | ("arm64", Some("v8" | "8")) => "",
        ("amd64", Some("v1")) => "",
        ("amd64", Some(v @ ("v2" | "v3" | "v4"))) => v,
        _ => return Err(invalid("platform", platform, "this architecture has no such variant")),
    };
    if parts.len() > 3 || parts.iter().any(|p| p.is_empty()) {
        return Err(invalid("platform", platform, "OS[/ARCH[/VARIANT]] is allowed"));
    }
    if parts[0] != "linux" || !runs {
        let reason = format!("this machine runs linux/{} only; emulation is not built yet", machine());
        return Err(invalid("platform", platform, reason));
    }
    let slash = if variant.is_empty() { "" } else { "/" };
    Ok(format!("linux/{architecture}{slash}{variant}"))
}

/// `--rootfs PATH[:rw]`; a relative path is completed with `cwd`.
pub fn rootfs(spec: &str, cwd: &Path) -> Result<RootfsSource> {
    let (path, write_through) = spec.strip_suffix(":rw").map_or((spec, false), |path| (path, true));
    if path.is_empty() || path.contains('\0') {
        return Err(invalid("rootfs", spec, "PATH[:rw] is allowed"));
    }
    if !path.starts_with('/') && cwd.as_os_str().is_empty() {
        return Err(invalid("rootfs", spec, NO_DIRECTORY));
    }
    Ok(RootfsSource::Directory { path: cwd.join(path).components().collect(), write_through })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("9", 9),
            ("64", 64),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
            ("IOT", 6),
            ("SYS", 31),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in
            ["", "0", "65", "-9", "+9", "FOO", "SIG", "SIGSIGKILL", "RTMIN+31", "RTMAX+1", "RTMIN+-1", " 9"]
        {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn platforms() {
        let native = format!("linux/{}", machine());
        assert_eq!(platform("linux").unwrap(), native);
        assert_eq!(platform(&native).unwrap(), native);
        assert_eq!(platform(std::env::consts::ARCH).unwrap(), native);
        for bad in ["windows/amd64", "linux/s390x", "", "linux/", "linux/amd64/v9", "a/b/c/d"] {
            assert!(platform(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn roots_and_directories() {
        let cwd = Path::new("/home/u");
        let directory =
            |path: &str, write_through| RootfsSource::Directory { path: path.into(), write_through };
        assert_eq!(rootfs("/", cwd).unwrap(), directory("/", false));
        assert_eq!(rootfs("./x/:rw", cwd).unwrap(), directory("/home/u/x", true));
        assert!(rootfs(":rw", cwd).is_err());
        assert!(workdir("x").is_err() && workdir("/x").is_ok());
        assert!(user("a:b").is_ok() && user("").is_ok() && user("a:b:c").is_err() && user("a\n").is_err());
    }
}
