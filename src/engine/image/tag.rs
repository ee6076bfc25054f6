//! `tag` and `untag`: names come and go, the image stays.

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::oci::Reference;
use crate::store::events::Event;

/// Gives an image further names. One that another image had moves here.
pub fn tag(engine: &Engine, image: &str, targets: &[String]) -> Result<()> {
    let names = targets.iter().map(|target| target_name(target)).collect::<Result<Vec<_>>>()?;
    let image = resolve::resolve(engine, image)?;
    for name in names {
        engine.store.tag(&image.id, &name.to_string())?;
        let name = [("name".into(), name.familiar())].into();
        engine.store.append_event(&Event::new("image", "tag", &image.id, name))?;
    }
    Ok(())
}

fn target_name(text: &str) -> Result<Reference> {
    let name = resolve::reference(text)?;
    match name.digest() {
        None => Ok(name),
        Some(_) => Err(Error::Invalid {
            what: "image name",
            value: text.into(),
            reason: "refusing to create a tag with a digest reference".into(),
        }),
    }
}

/// Takes names away from an image, all of them when none is given. An image without names stays, as podman's does.
pub fn untag(engine: &Engine, image: &str, names: &[String]) -> Result<()> {
    let _room = engine.store.make_room();
    let image = resolve::resolve(engine, image)?;
    let known = resolve::references(&image);
    let mut gone = Vec::new();
    for text in names {
        let name = resolve::reference(text)?.pinned();
        if !known.contains(&name) {
            return Err(Error::NotHere(format!("no such name: {} of image {}", name.familiar(), image.id)));
        }
        gone.push(name);
    }
    for name in if names.is_empty() { known } else { gone } {
        if engine.store.untag(&image.id, &name.to_string())? {
            let name = [("name".into(), name.familiar())].into();
            engine.store.append_event(&Event::new("image", "untag", &image.id, name))?;
        }
    }
    Ok(())
}
