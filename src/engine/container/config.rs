//! A container's configuration as docker keeps it: that of its image, with what its maker asked for.

use crate::engine::request::CreateRequest;
use crate::oci::ContainerConfig;

/// What both say of how a container runs. Labels are those of the record.
pub(super) fn of(image: &ContainerConfig, request: &CreateRequest) -> ContainerConfig {
    let mut config = image.clone();
    config.env = environment(&request.env, &image.env);
    (config.entrypoint, config.cmd) = words(image, request);
    let over = |own: &Option<String>, images: &mut String| {
        if let Some(own) = own {
            images.clone_from(own);
        }
    };
    over(&request.user, &mut config.user);
    over(&request.workdir, &mut config.working_dir);
    over(&request.stop_signal, &mut config.stop_signal);
    config.stop_timeout = request.stop_timeout.or(config.stop_timeout);
    config
}

/// The user's first, of which the last of a name counts, then what the image adds. A bare name takes the image's away.
fn environment(asked: &[String], image: &[String]) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut all: Vec<String> = Vec::new();
    for entry in asked {
        all.retain(|known| key(known) != key(entry));
        all.push(entry.clone());
    }
    let added: Vec<String> =
        image.iter().filter(|entry| all.iter().all(|known| key(known) != key(entry))).cloned().collect();
    all.extend(added);
    all
}

/// Entry point and command. An entry point of the user's own drops the image's command.
pub(super) fn words(image: &ContainerConfig, request: &CreateRequest) -> (Vec<String>, Vec<String>) {
    match &request.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), request.command.clone()),
        None if request.command.is_empty() => (image.entrypoint.clone(), image.cmd.clone()),
        None => (image.entrypoint.clone(), request.command.clone()),
    }
}
