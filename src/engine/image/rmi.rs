//! `rmi`: a name goes, and with the last one the image. The rules and their words are docker's.
//!
//! A decision is made from what was read, and carried out only if that still holds: two `rmi` of one image at once,
//! or one beside a `run`, a `load` or a `tag`, come out as if one had been after the other.

use super::resolve;
use crate::engine::container::create::about_to_go;
use crate::engine::{Engine, Error, Result};
use crate::oci::{Digest, Reference};
use crate::store::container::{ContainerRecord, Status};
use crate::store::events::Event;
use crate::store::image::{ImageRecord, Removal};

/// Decisions that were overtaken before giving up.
const TRIES: usize = 100;

/// How `rmi` was asked to go about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RmiOptions<'a> {
    /// Also an image with several names, or one that stopped containers were made from.
    pub force: bool,
    /// An image named by its id may have several names.
    pub every_name: bool,
    /// `os/arch[/variant]`: of the list that the image came in, the one for this platform.
    pub platform: Option<&'a str>,
}

/// One line of `rmi`'s output. Displayed as docker words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A familiar reference.
    Untagged(String),
    /// `sha256:…`: the id of an image, or the chain-id of a layer.
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

/// The ids of all images, for a removal of everything.
pub fn all(engine: &Engine) -> Result<Vec<String>> {
    Ok(engine.store.images()?.into_iter().map(|image| image.id).collect())
}

/// Removes a name; the image too when it was the last one, or when the image was named by its id.
pub fn rmi(engine: &Engine, name: &str, options: RmiOptions<'_>) -> Result<Vec<Removed>> {
    let store = &engine.store;
    let _room = store.make_room();
    for _ in 0..TRIES {
        let image = match resolve::resolve_variant(engine, name, options.platform) {
            Err(e) if e.is_missing() => {
                // It may have gone with a command that was killed before its layers were.
                store.remove_unreferenced(|path| store.delete_tree(path))?;
                return Err(missing(engine, name, e));
            }
            other => other?,
        };
        let siblings = resolve::siblings(engine, &image)?;
        let tag = tag_of(&image, name);
        if let (Some(_), Some(heir), Some(tag)) = (options.platform, siblings.first(), &tag) {
            // The name stays for what stays of the list.
            store.tag(&heir.id, &tag.to_string())?;
            continue;
        }
        let (untag, delete, users) = decide(engine, &image, name, options)?;
        let removed = carry_out(engine, &image, &untag, delete, &users)?;
        if let Some(mut removed) = removed {
            for sibling in siblings.iter().filter(|_| delete) {
                if let Some(tag) = &tag {
                    removed.extend(remove_nameless(engine, &sibling.id, tag)?);
                }
            }
            if delete {
                let gone = store.remove_unreferenced(|path| store.delete_tree(path))?;
                removed.extend(deleted_layers(&image, &gone.layers));
            }
            return Ok(removed);
        }
    }
    Err(Error::ImageConflict(format!("{name} is being changed by other commands all the time")))
}

/// Why there is nothing to remove.
fn missing(engine: &Engine, name: &str, error: Error) -> Error {
    let list = name.parse::<Reference>().ok().filter(|reference| reference.digest().is_none());
    match list.map(|list| engine.store.image_list(&list.to_string())) {
        Some(Ok(Some(_))) => Error::IsList(name.into()),
        _ => match error {
            Error::NoSuchImage(name) => Error::Gone(name),
            other => other,
        },
    }
}

/// The tag that `name` is, if it is one of the image's.
fn tag_of(image: &ImageRecord, name: &str) -> Option<Reference> {
    let named = name.parse::<Reference>().ok()?.pinned();
    (named.digest().is_none() && resolve::references(image).contains(&named)).then_some(named)
}

/// An image of another platform came in the same list as the one that was removed with its last name, `tag`. Where it
/// has no name of its own, and nobody uses it, it goes as well.
fn remove_nameless(engine: &Engine, id: &str, tag: &Reference) -> Result<Vec<Removed>> {
    let image = match engine.store.find_image(id) {
        Err(crate::store::Error::NoSuchImage(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let references = resolve::references(&image);
    let users = users(engine, &image)?;
    let its_own = |r: &Reference| r.digest().is_none() || r.repository() != tag.repository();
    if !users.is_empty() || references.iter().any(its_own) {
        return Ok(Vec::new());
    }
    // One that was overtaken has got a name or a user meanwhile.
    Ok(carry_out(engine, &image, &references, true, &users)?.unwrap_or_default())
}

/// The layers of a removed image that went, topmost first. docker calls a layer by its chain-id.
pub(super) fn deleted_layers(image: &ImageRecord, gone: &[String]) -> Vec<Removed> {
    let diff_ids: Vec<Digest> = image.layers.iter().filter_map(|layer| layer.parse().ok()).collect();
    let chain = Digest::chain(&diff_ids).into_iter().zip(&diff_ids).rev();
    let went = chain.filter(|(_, diff_id)| gone.iter().any(|layer| layer == diff_id.as_str()));
    went.map(|(chain_id, _)| Removed::Deleted(chain_id.to_string())).collect()
}

/// Takes the names away and, with `delete`, the image; tells the events. `None` when it was overtaken.
pub(super) fn carry_out(
    engine: &Engine,
    image: &ImageRecord,
    untag: &[Reference],
    delete: bool,
    users: &[ContainerRecord],
) -> Result<Option<Vec<Removed>>> {
    let store = &engine.store;
    let removal = Removal {
        image,
        users: users.iter().map(|user| user.id.clone()).collect(),
        untag: untag.iter().map(ToString::to_string).collect(),
        delete,
    };
    if !store.remove_image(&removal)? {
        return Ok(None);
    }
    let mut removed = Vec::new();
    for reference in untag {
        let name = reference.familiar();
        store.append_event(&Event::new(
            "image",
            "untag",
            &image.id,
            [("name".into(), name.clone())].into(),
        ))?;
        removed.push(Removed::Untagged(name));
    }
    if delete {
        let name = [("name".into(), image.id.clone())].into();
        store.append_event(&Event::new("image", "delete", &image.id, name))?;
        removed.push(Removed::Deleted(image.id.clone()));
    }
    Ok(Some(removed))
}

/// Which names go, whether the image goes with them, and which containers that leaves without one.
fn decide(
    engine: &Engine,
    image: &ImageRecord,
    name: &str,
    options: RmiOptions<'_>,
) -> Result<(Vec<Reference>, bool, Vec<ContainerRecord>)> {
    let references = resolve::references(image);
    let users = users(engine, image)?;
    let named = name.parse::<Reference>().ok().map(|r| r.pinned()).filter(|r| references.contains(r));
    let Some(named) = named else {
        let whole = is_single(&references) || references.is_empty() || options.every_name;
        check_use(engine, image, &users, options.force, whole)?;
        return Ok((references, true, users));
    };
    if let (false, true, Some(user)) = (options.force, is_single(&references), users.first()) {
        return Err(Error::ImageConflict(format!(
            "unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced \
             image {}",
            user.id.short(),
            short(image)
        )));
    }
    let untag = with_its_digests(&named, &references);
    let last = references.len() == untag.len();
    // Of an image in use the name goes all the same, and the image is left without one.
    let delete = last && check_use(engine, image, &users, options.force, true).is_ok();
    Ok((untag, delete, users))
}

/// The containers that stand on the image. One that has ended and goes by itself is waited for.
fn users(engine: &Engine, image: &ImageRecord) -> Result<Vec<ContainerRecord>> {
    let mut users = Vec::new();
    for user in engine.store.containers_using_image(&image.id)? {
        if !about_to_go(engine, &user.id)? {
            users.push(user);
        }
    }
    Ok(users)
}

/// With the last tag in a repository go the digests that the repository gave.
fn with_its_digests(named: &Reference, references: &[Reference]) -> Vec<Reference> {
    let same = |r: &&Reference| r.repository() == named.repository() && *r != named;
    let mut untag = vec![named.clone()];
    if named.digest().is_none() && !references.iter().filter(same).any(|r| r.digest().is_none()) {
        untag.extend(references.iter().filter(same).cloned());
    }
    untag
}

/// Whether there is one tag at most, and everything else is a digest of the same repository.
fn is_single(references: &[Reference]) -> bool {
    let tags = references.iter().filter(|r| r.digest().is_none()).count();
    let Some(first) = references.first() else { return false };
    tags <= 1 && references.iter().all(|r| r.repository() == first.repository())
}

fn short(image: &ImageRecord) -> &str {
    image.id.strip_prefix("sha256:").unwrap_or(&image.id).get(..12).unwrap_or(&image.id)
}

/// docker's conflicts, in docker's order and words.
fn check_use(
    engine: &Engine,
    image: &ImageRecord,
    users: &[ContainerRecord],
    force: bool,
    one_name: bool,
) -> Result<()> {
    let conflict = |how: &str, why: String| {
        Err(Error::ImageConflict(format!("unable to delete {} ({how}) - {why}", short(image))))
    };
    let mut stopped = None;
    for user in users {
        let status = match engine.store.observe(user) {
            // It went since the list was read.
            Err(crate::store::Error::NoSuchContainer(_)) => continue,
            other => other?.status,
        };
        if matches!(status, Status::Running | Status::Paused | Status::Restarting) {
            let why = format!("image is being used by running container {}", user.id.short());
            return conflict("cannot be forced", why);
        }
        stopped.get_or_insert(user);
    }
    if force {
        return Ok(());
    }
    if !one_name {
        return conflict("must be forced", "image is referenced in multiple repositories".into());
    }
    match stopped {
        Some(user) => conflict(
            "must be forced",
            format!("image is being used by stopped container {}", user.id.short()),
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn list(names: &[&str]) -> Vec<Reference> {
        names.iter().map(|n| n.replace("DIGEST", DIGEST).parse().unwrap()).collect()
    }

    #[test]
    fn one_tag_with_its_digest_is_single() {
        for (names, single) in [
            (&[][..], false),
            (&["a:1"], true),
            (&["a@DIGEST"], true),
            (&["a:1", "a@DIGEST"], true),
            (&["a:1", "a:2"], false),
            (&["a:1", "b@DIGEST"], false),
            (&["a@DIGEST", "b@DIGEST"], false),
        ] {
            assert_eq!(is_single(&list(names)), single, "{names:?}");
        }
    }

    #[test]
    fn digests_go_with_the_last_tag_of_their_repository() {
        for (named, names, left) in [
            ("a:1", &["a:1", "a@DIGEST"][..], 0),
            ("a:1", &["a:1", "a:2", "a@DIGEST"], 2),
            ("a:1", &["a:1", "b@DIGEST"], 1),
            ("a@DIGEST", &["a:1", "a@DIGEST"], 1),
        ] {
            let references = list(names);
            let gone = with_its_digests(&list(&[named])[0], &references);
            assert_eq!(references.len() - gone.len(), left, "{named} of {names:?}");
        }
    }
}
