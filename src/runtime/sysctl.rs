//! Which sysctls belong to a namespace, and are therefore a container's to set.
//!
//! Everything else in `/proc/sys` is the host's and refused, as is a name that would leave `/proc/sys`.

/// Which namespaces the container has for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
}

/// Why a sysctl is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not a sysctl's name")]
    Name,
    #[error("it is not part of any namespace, so setting it would change the host")]
    Host,
    #[error("it belongs to the {0} namespace, which the container shares")]
    Shared(&'static str),
    #[error("the host name is set with --hostname")]
    Hostname,
}

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The name with dots (`kernel/shmmax` is accepted), if the container may set it.
pub fn check(name: &str, own: Own) -> Result<String, Refused> {
    // One kind of separator only: in `net.ipv4.conf.eth0/1.x` the slash stands for a dot inside a name.
    let dotted = match (name.contains('/'), name.contains('.')) {
        (true, true) => return Err(Refused::Name),
        (true, false) => name.replace('/', "."),
        _ => name.to_owned(),
    };
    let sound = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if dotted.len() > 255 || !dotted.contains('.') || !dotted.split('.').all(sound) {
        return Err(Refused::Name);
    }
    let shared = |owned: bool, namespace| if owned { Ok(()) } else { Err(Refused::Shared(namespace)) };
    match dotted.as_str() {
        "kernel.hostname" => Err(Refused::Hostname),
        "kernel.domainname" => shared(own.uts, "UTS"),
        n if IPC.contains(&n) || n.starts_with("fs.mqueue.") => shared(own.ipc, "IPC"),
        n if n.starts_with("net.") => shared(own.network, "network"),
        _ => Err(Refused::Host),
    }?;
    Ok(dotted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Own = Own { network: true, ipc: true, uts: true };

    #[test]
    fn only_what_a_namespace_holds() {
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname"] {
            assert_eq!(check(name, ALL).as_deref(), Ok(name));
            assert!(matches!(check(name, Own::default()), Err(Refused::Shared(_))), "{name}");
        }
        assert_eq!(check("net/core/somaxconn", ALL).as_deref(), Ok("net.core.somaxconn"));
        for name in ["kernel.core_pattern", "vm.overcommit_memory", "kernel.shmmaxx", "fs.file-max"] {
            assert_eq!(check(name, ALL), Err(Refused::Host), "{name}");
        }
        assert_eq!(check("kernel.hostname", ALL), Err(Refused::Hostname));
    }

    #[test]
    fn names_cannot_leave_proc_sys() {
        for name in
            ["net/../kernel/core_pattern", "net..x", "net.", "net", "", "/net/core", "net.a b", "net.\0"]
        {
            assert_eq!(check(name, ALL), Err(Refused::Name), "{name}");
        }
    }
}
