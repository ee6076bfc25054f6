//! Resource limits: their names and numbers, and what the host leaves of them.
//!
//! A plain user cannot raise a hard limit, not even as root of a user namespace. So every request is cut to the
//! hard limit of this process, and whoever asked is told.

use rustix::process::{Resource, getrlimit};

use super::plan::Rlimit;

/// docker's names (`RLIMIT_` left out, lower case) with the kernel's numbers on x86_64 and aarch64.
const NAMES: [(&str, Resource, u32); 16] = [
    ("cpu", Resource::Cpu, 0),
    ("fsize", Resource::Fsize, 1),
    ("data", Resource::Data, 2),
    ("stack", Resource::Stack, 3),
    ("core", Resource::Core, 4),
    ("rss", Resource::Rss, 5),
    ("nproc", Resource::Nproc, 6),
    ("nofile", Resource::Nofile, 7),
    ("memlock", Resource::Memlock, 8),
    ("as", Resource::As, 9),
    ("locks", Resource::Locks, 10),
    ("sigpending", Resource::Sigpending, 11),
    ("msgqueue", Resource::Msgqueue, 12),
    ("nice", Resource::Nice, 13),
    ("rtprio", Resource::Rtprio, 14),
    ("rttime", Resource::Rttime, 15),
];

/// The kernel's number for a docker name such as `nofile`.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().find(|(known, ..)| *known == name).map(|(.., n)| *n)
}

/// All names that [`number`] knows, for error texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, ..)| *name)
}

/// Cuts a limit to what this process may set; the text says what was lost. `None` for an unknown resource.
/// `u64::MAX` is unlimited.
pub fn clamp(wanted: Rlimit) -> Option<(Rlimit, Option<String>)> {
    let (name, resource, _) = NAMES.iter().find(|(.., n)| *n == wanted.resource)?;
    let host = getrlimit(*resource).maximum.unwrap_or(u64::MAX);
    let given = Rlimit { soft: wanted.soft.min(host), hard: wanted.hard.min(host), ..wanted };
    let warning = (given != wanted).then(|| {
        format!(
            "ulimit {name}={}:{} lowered to {}:{}: the host's hard limit for this user is {host}",
            shown(wanted.soft),
            shown(wanted.hard),
            given.soft,
            given.hard
        )
    });
    Some((given, warning))
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_c_librarys() {
        assert_eq!(number("nofile"), Some(libc::RLIMIT_NOFILE));
        assert_eq!(number("as"), Some(libc::RLIMIT_AS));
        assert_eq!(number("rttime"), Some(libc::RLIMIT_RTTIME));
        assert_eq!(number("nproc"), Some(libc::RLIMIT_NPROC));
        assert_eq!(number("RLIMIT_NOFILE"), None);
        assert_eq!(names().count(), 16);
    }

    #[test]
    fn never_above_the_host() {
        let host = getrlimit(Resource::Nofile).maximum.unwrap();
        let asked = Rlimit { resource: 7, soft: 1, hard: u64::MAX };
        let (given, warning) = clamp(asked).unwrap();
        assert_eq!(given, Rlimit { resource: 7, soft: 1, hard: host });
        assert!(warning.unwrap().contains(&format!("hard limit for this user is {host}")));
        let modest = Rlimit { resource: 7, soft: 1, hard: 2 };
        assert_eq!(clamp(modest), Some((modest, None)));
        assert_eq!(clamp(Rlimit { resource: 99, soft: 1, hard: 1 }), None);
    }
}
