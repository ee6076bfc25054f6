//! docker's and podman's words that kelp does not have yet: each is answered with an error that says so.
//!
//! They are looked up only once clap has met a word it does not know, so they cost nothing and stand in no help.

use super::failure::Failure;

/// A flag as it is typed: `--memory`, `-m`.
pub(super) type Flag = &'static str;

/// The flag of `table` that was meant.
pub(super) fn find(table: &'static [Flag], flag: &str) -> Option<Flag> {
    table.iter().find(|known| **known == flag).copied()
}

pub(super) fn failure(what: &str) -> Failure {
    let hint = match what {
        "--link-local-ip" => "`--ip` chooses one of the network's own addresses",
        "--volumes-from" | "--volume-driver" => "`-v /host/path:/path` binds a directory of the host",
        _ => "",
    };
    let is_flag = what.starts_with('-');
    Failure::Unbuilt { message: format!("{what} is not built yet"), hint: hint.into(), is_flag }
}

/// Flags before the command.
pub(super) fn is_global(flag: &str) -> bool {
    let flag = flag.split('=').next().unwrap_or(flag);
    [
        "--config",
        "--context",
        "-c",
        "--host",
        "-H",
        "--log-level",
        "-l",
        "--tls",
        "--tlscacert",
        "--tlscert",
        "--tlskey",
        "--tlsverify",
        "--root",
        "--runroot",
        "--runtime",
        "--storage-driver",
        "--storage-opt",
        "--cgroup-manager",
        "--remote",
        "-r",
        "--url",
        "--connection",
        "--events-backend",
        "--snapshotter",
    ]
    .contains(&flag)
}

/// Commands of docker's and podman's.
pub(super) static COMMANDS: &[&str] = &[
    "api",
    "auto-update",
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "cleanup",
    "clone",
    "compose",
    "config",
    "context",
    "doctor",
    "events",
    "exists",
    "generate",
    "healthcheck",
    "init",
    "kube",
    "machine",
    "mount",
    "node",
    "pause",
    "plugin",
    "pod",
    "prune",
    "secret",
    "service",
    "stack",
    "stats",
    "swarm",
    "top",
    "trust",
    "umount",
    "unpause",
    "unshare",
    "update",
    "volume",
];

/// Behind `kelp network`.
pub(super) static NETWORK_COMMANDS: &[&str] = &["reload", "update"];
pub(super) static NETWORK_CONNECT: &[Flag] = &["--mac-address"];
pub(super) static NETWORK_CREATE: &[Flag] = &[
    "--config-from",
    "--config-only",
    "--ingress",
    "--ipam-opt",
    "--scope",
    // podman's
    "--disable-dns",
    "--dns",
    "--ignore",
    "--interface-name",
    "--route",
];
pub(super) static NETWORK_LS: &[Flag] = &["--noheading", "-n"];
pub(super) static NETWORK_RM: &[Flag] = &["--time", "-t"];

/// `run` and `create`.
pub(super) static CREATE: &[Flag] = &[
    "--blkio-weight",
    "--blkio-weight-device",
    "--cgroup-parent",
    "--cgroupns",
    "--cpu-count",
    "--cpu-percent",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-rt-period",
    "--cpu-rt-runtime",
    "--cpu-shares",
    "-c",
    "--cpus",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--device",
    "--device-cgroup-rule",
    "--device-read-bps",
    "--device-read-iops",
    "--device-write-bps",
    "--device-write-iops",
    "--domainname",
    "--gpus",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--io-maxbandwidth",
    "--io-maxiops",
    "--isolation",
    "--kernel-memory",
    "--link-local-ip",
    "--log-driver",
    "--log-opt",
    "--memory",
    "-m",
    "--memory-reservation",
    "--memory-swap",
    "--memory-swappiness",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--pids-limit",
    "--runtime",
    "--storage-opt",
    "--use-api-socket",
    "--volume-driver",
    "--volumes-from",
    // podman's
    "--arch",
    "--authfile",
    "--cert-dir",
    "--cgroup-conf",
    "--cgroups",
    "--chrootdirs",
    "--conmon-pidfile",
    "--creds",
    "--decryption-key",
    "--env-host",
    "--env-merge",
    "--gidmap",
    "--health-log-destination",
    "--health-max-log-count",
    "--health-max-log-size",
    "--health-on-failure",
    "--health-startup-cmd",
    "--health-startup-interval",
    "--health-startup-retries",
    "--health-startup-success",
    "--health-startup-timeout",
    "--hostuser",
    "--hosts-file",
    "--http-proxy",
    "--image-volume",
    "--init-ctr",
    "--init-path",
    "--intel-rdt-closid",
    "--no-hostname",
    "--no-hosts",
    "--os",
    "--passwd",
    "--passwd-entry",
    "--group-entry",
    "--personality",
    "--pidfile",
    "--pod",
    "--pod-id-file",
    "--preserve-fd",
    "--preserve-fds",
    "--rdt-class",
    "--read-only-tmpfs",
    "--replace",
    "--requires",
    "--retry",
    "--retry-delay",
    "--rmi",
    "--sdnotify",
    "--seccomp-policy",
    "--secret",
    "--shm-size-systemd",
    "--subgidname",
    "--subuidname",
    "--systemd",
    "--timeout",
    "--tls-verify",
    "--tz",
    "--uidmap",
    "--umask",
    "--unsetenv",
    "--unsetenv-all",
    "--variant",
];

pub(super) static EXEC: &[Flag] =
    &["--latest", "-l", "--preserve-fd", "--preserve-fds", "--cidfile", "--no-session"];
pub(super) static START: &[Flag] =
    &["--checkpoint", "--checkpoint-dir", "--all", "--filter", "-f", "--latest", "-l"];
pub(super) static STOP: &[Flag] =
    &["--all", "-a", "--cidfile", "--filter", "-f", "--ignore", "--latest", "-l"];
pub(super) static RESTART: &[Flag] =
    &["--all", "-a", "--cidfile", "--filter", "-f", "--latest", "-l", "--running"];
pub(super) static KILL: &[Flag] = &["--all", "-a", "--cidfile", "--latest", "-l"];
pub(super) static RM: &[Flag] = &[
    "--all",
    "-a",
    "--cidfile",
    "--depend",
    "--filter",
    "--ignore",
    "--latest",
    "--link",
    "-l",
    "--time",
    "-t",
];
pub(super) static PS: &[Flag] =
    &["--external", "--noheading", "--ns", "--pod", "-p", "--sort", "--sync", "--watch", "-w"];
pub(super) static LOGS: &[Flag] = &["--color", "--latest", "-l", "--names"];
pub(super) static WAIT: &[Flag] =
    &["--condition", "--exit-first-match", "--ignore", "--interval", "-i", "--latest", "-l"];
pub(super) static PORT: &[Flag] = &["--all", "-a", "--latest", "-l"];
pub(super) static LATEST: &[Flag] = &["--latest", "-l"];
/// podman's.
pub(super) static COMMIT: &[Flag] = &["--format", "-f", "--iidfile", "--include-volumes", "-s", "--squash"];
pub(super) static CP: &[Flag] = &["--overwrite"];
pub(super) static DIFF: &[Flag] = &["--format", "--latest", "-l"];
pub(super) static IMAGES: &[Flag] = &["--history", "--noheading", "--sort"];
pub(super) static IMPORT: &[Flag] = &["--arch", "--os", "--variant", "--quiet", "-q"];
pub(super) static PRUNE_IMAGES: &[Flag] = &["--external", "--build-cache"];
pub(super) static PRUNE_SYSTEM: &[Flag] = &["--volumes", "--build", "--external"];
pub(super) static LOGIN: &[Flag] = &[
    "--authfile",
    "--cert-dir",
    "--compat-auth-file",
    "--get-login",
    "--secret",
    "--tls-verify",
    "--verbose",
    "-v",
];
pub(super) static PUSH: &[Flag] = &[
    "--authfile",
    "--cert-dir",
    "--compress",
    "--compression-format",
    "--compression-level",
    "--creds",
    "--encrypt-layer",
    "--encryption-key",
    "--force-compression",
    "--format",
    "-f",
    "--remove-signatures",
    "--retry",
    "--retry-delay",
    "--sign-by",
    "--sign-by-sigstore",
    "--sign-by-sigstore-private-key",
    "--sign-passphrase-file",
    "--tls-verify",
];
pub(super) static LOGOUT: &[Flag] = &["--all", "-a", "--authfile", "--compat-auth-file"];
pub(super) static PULL: &[Flag] = &[
    "--arch",
    "--authfile",
    "--cert-dir",
    "--creds",
    "--decryption-key",
    "--os",
    "--policy",
    "--retry",
    "--retry-delay",
    "--tls-verify",
    "--variant",
];

#[cfg(test)]
mod tests {
    use super::super::{command::Exit, dispatch, tree};
    use super::*;

    /// Every flag in the tables gets the answer, on every command that has a table, and none of them exists.
    #[test]
    fn every_flag_says_that_it_is_not_built() {
        for entry in tree::COMMANDS {
            let command = entry.spec.build(entry.name, entry.name);
            for flag in entry.spec.unbuilt {
                let exists = command.get_arguments().any(|arg| match flag.strip_prefix("--") {
                    Some(long) => {
                        arg.get_long() == Some(long)
                            || arg.get_all_aliases().unwrap_or_default().contains(&long)
                    }
                    None => arg.get_short() == flag.chars().nth(1),
                });
                assert!(!exists, "{} {flag} exists", entry.name);
                let error =
                    dispatch::parse(entry, entry.name, &[flag.into(), "x".into(), "y".into()]).unwrap_err();
                assert_eq!(error.to_string(), format!("{flag} is not built yet"), "{}", entry.name);
                assert_eq!(error.status(Exit::Container).code(), 125);
            }
        }
    }

    #[test]
    fn commands_that_exist_are_not_in_the_table() {
        for name in COMMANDS {
            assert!(tree::find(tree::COMMANDS, name).is_none(), "{name}");
            assert!(tree::GROUPS.iter().all(|g| g.name != *name), "{name}");
        }
    }
}
