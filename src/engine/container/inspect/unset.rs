//! docker's fields for what kelp has no option for yet, with the values that they have where nothing was asked
//! for. A template that names one of them gets docker's answer instead of an error, and it is true.

use std::collections::BTreeMap;

use serde::Serialize;

type Nothing = Option<()>;

/// Of the container itself: security modules that kelp does not set up.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    mount_label: &'static str,
    process_label: &'static str,
    app_armor_profile: &'static str,
}

/// Of `HostConfig`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    #[serde(rename = "ContainerIDFile")]
    container_id_file: &'static str,
    log_config: LogConfig,
    restart_policy: RestartPolicy,
    volume_driver: &'static str,
    volumes_from: Nothing,
    console_size: [u16; 2],
    cgroup: &'static str,
    cgroup_parent: &'static str,
    cgroupns_mode: &'static str,
    links: Nothing,
    runtime: &'static str,
    isolation: &'static str,
    cpu_shares: i64,
    cpu_count: i64,
    cpu_percent: i64,
    cpu_period: i64,
    cpu_quota: i64,
    cpu_realtime_period: i64,
    cpu_realtime_runtime: i64,
    cpuset_cpus: &'static str,
    cpuset_mems: &'static str,
    nano_cpus: i64,
    memory: i64,
    memory_reservation: i64,
    memory_swap: i64,
    memory_swappiness: Nothing,
    oom_kill_disable: bool,
    pids_limit: Nothing,
    blkio_weight: u16,
    blkio_weight_device: Nothing,
    blkio_device_read_bps: Nothing,
    blkio_device_write_bps: Nothing,
    #[serde(rename = "BlkioDeviceReadIOps")]
    blkio_device_read_iops: Nothing,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    blkio_device_write_iops: Nothing,
    devices: Nothing,
    device_cgroup_rules: Nothing,
    device_requests: Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    #[serde(rename = "Type")]
    kind: &'static str,
    config: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
    maximum_retry_count: u32,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            container_id_file: "",
            // podman's word for the CRI format.
            log_config: LogConfig { kind: super::LOG_DRIVER, config: BTreeMap::new() },
            restart_policy: RestartPolicy { name: "no", maximum_retry_count: 0 },
            volume_driver: "",
            volumes_from: None,
            console_size: [0, 0],
            cgroup: "",
            cgroup_parent: "",
            cgroupns_mode: "private",
            links: None,
            runtime: super::RUNTIME,
            isolation: "",
            cpu_shares: 0,
            cpu_count: 0,
            cpu_percent: 0,
            cpu_period: 0,
            cpu_quota: 0,
            cpu_realtime_period: 0,
            cpu_realtime_runtime: 0,
            cpuset_cpus: "",
            cpuset_mems: "",
            nano_cpus: 0,
            memory: 0,
            memory_reservation: 0,
            memory_swap: 0,
            memory_swappiness: None,
            oom_kill_disable: false,
            pids_limit: None,
            blkio_weight: 0,
            blkio_weight_device: None,
            blkio_device_read_bps: None,
            blkio_device_write_bps: None,
            blkio_device_read_iops: None,
            blkio_device_write_iops: None,
            devices: None,
            device_cgroup_rules: None,
            device_requests: None,
        }
    }
}

/// Of `NetworkSettings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: &'static str,
    sandbox_key: &'static str,
}

/// Of `Config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    domainname: &'static str,
    volumes: Nothing,
    on_build: Nothing,
}
