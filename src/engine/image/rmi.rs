//! `rmi`: a name goes, and with the last one the image.

use super::resolve;
use crate::engine::container::create::about_to_go;
use crate::engine::{Engine, Error, Result};
use crate::oci::Reference;
use crate::store::container::Status;
use crate::store::events::Event;
use crate::store::image::ImageRecord;

#[derive(Debug, Clone, Copy, Default)]
pub struct RmiOptions {
    /// Also an image with several names, or one that stopped containers were made from.
    pub force: bool,
}

/// One line of `rmi`'s output. Displayed as docker words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A familiar reference.
    Untagged(String),
    /// `sha256:…` of an image or a layer.
    Deleted(String),
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged(reference) => write!(f, "Untagged: {reference}"),
            Self::Deleted(id) => write!(f, "Deleted: {id}"),
        }
    }
}

/// Removes a name; the image too when it was the last one, or when the image was named by its id.
pub fn rmi(engine: &Engine, name: &str, options: RmiOptions) -> Result<Vec<Removed>> {
    let image = resolve::resolve(engine, name)?;
    let named = name.parse::<Reference>().ok().filter(|r| image.references.contains(&r.to_string()));
    let only_untag = named.is_some() && image.references.len() > 1;
    if !only_untag {
        check_use(engine, &image, named.as_ref(), options)?;
    }
    let mut removed = Vec::new();
    if let (Some(reference), true) = (&named, only_untag) {
        untag(engine, &image, reference, &mut removed)?;
        return Ok(removed);
    }
    for reference in resolve::references(&image) {
        untag(engine, &image, &reference, &mut removed)?;
    }
    let store = &engine.store;
    store.remove_image(&image.id)?;
    store.append_event(&Event::new(
        "image",
        "delete",
        &image.id,
        [("name".into(), image.id.clone())].into(),
    ))?;
    removed.push(Removed::Deleted(image.id.clone()));
    let gone = store.remove_unreferenced(|path| store.delete_tree(path))?;
    removed.extend(image.layers.iter().rev().filter(|l| gone.contains(l)).cloned().map(Removed::Deleted));
    Ok(removed)
}

fn untag(
    engine: &Engine,
    image: &ImageRecord,
    reference: &Reference,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    if engine.store.untag(&reference.to_string())? {
        let name = reference.familiar();
        engine.store.append_event(&Event::new(
            "image",
            "untag",
            &image.id,
            [("name".into(), name.clone())].into(),
        ))?;
        removed.push(Removed::Untagged(name));
    }
    Ok(())
}

/// docker's conflicts, in docker's words.
fn check_use(
    engine: &Engine,
    image: &ImageRecord,
    named: Option<&Reference>,
    options: RmiOptions,
) -> Result<()> {
    let short = image.id.strip_prefix("sha256:").unwrap_or(&image.id).get(..12).unwrap_or(&image.id);
    let conflict = |text: String| Err(Error::ImageConflict(text));
    for container in engine.store.containers_using_image(&image.id)? {
        if about_to_go(engine, &container.id)? {
            continue;
        }
        let id = container.id.short();
        let running = matches!(
            engine.store.observe(&container)?.status,
            Status::Running | Status::Paused | Status::Restarting
        );
        if running {
            return conflict(format!(
                "unable to delete {short} (cannot be forced) - image is being used by running container {id}"
            ));
        }
        if options.force {
            continue;
        }
        return conflict(match named {
            Some(reference) => format!(
                "unable to remove repository reference \"{}\" (must force) - container {id} is using its referenced \
                 image {short}",
                reference.familiar()
            ),
            None => format!(
                "unable to delete {short} (must be forced) - image is being used by stopped container {id}"
            ),
        });
    }
    let mut repositories: Vec<String> =
        resolve::references(image).iter().map(Reference::repository).collect();
    repositories.dedup();
    if named.is_none() && repositories.len() > 1 && !options.force {
        return conflict(format!(
            "unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        ));
    }
    Ok(())
}
