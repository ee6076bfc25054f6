//! `pull`: images come from registries. Also what `run` and `create` do about an image that is not here.

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::Client;
use crate::image::pull;
use crate::oci::{Platform, Reference};
use crate::store::events::Event as StoreEvent;

pub use crate::image::pull::{Event, LayerState, Watch};

/// What `pull` was asked for.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// As typed.
    pub name: String,
    /// `os/arch[/variant]`; the host's unless given.
    pub platform: Option<String>,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// Plain HTTP will do with a registry that speaks no TLS.
    pub insecure: bool,
}

/// What is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// The registry has it. Comes before the events of one image; not when no registry was asked.
    Image(&'a Reference),
    Event(Event),
    /// The image is here.
    Pulled(&'a Pulled),
}

/// One image that is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub reference: Reference,
    /// `sha256:…` of what the registry has under the name.
    pub digest: String,
    pub id: String,
    /// Whether it was not here before, or under another name only.
    pub is_new: bool,
}

/// When `run` and `create` ask the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    /// When the image is not here.
    #[default]
    Missing,
    Never,
    /// As `Always`, but what is here will do when the registry cannot be asked.
    Newer,
}

/// The images that were asked for. The calling process must have one thread.
pub fn pull(engine: &Engine, request: &PullRequest, watch: &mut dyn FnMut(Step<'_>)) -> Result<Vec<Pulled>> {
    let reference = resolve::reference(&request.name)?;
    let platform = request.platform.as_deref().map(resolve::platform).transpose()?;
    let client = Client::insecure(&engine.config, request.insecure);
    let references = if request.all_tags { tags(&client, request, &reference)? } else { vec![reference] };
    let one = |reference| one(engine, &client, reference, platform.as_ref(), watch);
    references.into_iter().map(one).collect()
}

fn tags(client: &Client, request: &PullRequest, reference: &Reference) -> Result<Vec<Reference>> {
    // `alpine` is `alpine:latest`: what was typed tells them apart.
    let last = request.name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        let reason = "a tag or digest makes no sense together with --all-tags".into();
        return Err(Error::Invalid { what: "image name", value: request.name.clone(), reason });
    }
    let mut tags = pull::tags(client, reference, None)?;
    tags.sort();
    let named = |tag: String| {
        let name = format!("{}:{tag}", reference.repository());
        resolve::reference(&name)
    };
    tags.into_iter().map(named).collect()
}

fn one(
    engine: &Engine,
    client: &Client,
    reference: Reference,
    platform: Option<&Platform>,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Pulled> {
    let store = &engine.store;
    let pulled = super::adding(store, || {
        Ok(pull::pull(store, client, &reference, platform, &mut |event| match event {
            Event::Begins => watch(Step::Image(&reference)),
            event => watch(Step::Event(event)),
        })?)
    })?;
    let name = reference.familiar();
    let attributes = [("name".to_string(), name)].into();
    store.append_event(&StoreEvent::new("image", "pull", &pulled.image.id, attributes))?;
    let pulled =
        Pulled { reference, digest: pulled.digest.to_string(), id: pulled.image.id, is_new: pulled.is_new };
    watch(Step::Pulled(&pulled));
    Ok(pulled)
}

/// Whether a registry has to be asked before a container can be made from the image.
pub fn is_wanted(engine: &Engine, name: &str, platform: Option<&str>, policy: PullPolicy) -> Result<bool> {
    match policy {
        PullPolicy::Never => Ok(false),
        PullPolicy::Always | PullPolicy::Newer => Ok(true),
        PullPolicy::Missing => Ok(!is_here(engine, name, platform)?),
    }
}

/// Whether the image is here, for the platform if one is asked for.
fn is_here(engine: &Engine, name: &str, platform: Option<&str>) -> Result<bool> {
    match resolve::resolve_for(engine, name, platform) {
        Ok(image) => match platform {
            None => Ok(true),
            Some(wanted) => match resolve::require_platform(&image, name, wanted) {
                Err(Error::Platform { .. }) => Ok(false),
                other => other.map(|()| true),
            },
        },
        Err(e) if e.is_missing() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Brings in the image of a new container as the policy says. `missing` hears that it is not here.
pub fn ensure(
    engine: &Engine,
    name: &str,
    platform: Option<&str>,
    policy: PullPolicy,
    missing: &mut dyn FnMut(&Reference),
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    if policy == PullPolicy::Never {
        return Ok(());
    }
    let here = is_here(engine, name, platform)?;
    if policy == PullPolicy::Missing && here {
        return Ok(());
    }
    // An id is not a name: there is nothing to ask for.
    let Ok(reference) = name.parse::<Reference>() else { return Ok(()) };
    if here && engine.store.find_image(&reference.to_string()).is_err() {
        return Ok(());
    }
    if !here {
        missing(&reference);
    }
    let platform = platform.map(str::to_owned);
    let request = PullRequest { name: name.into(), platform, ..PullRequest::default() };
    match pull(engine, &request, watch) {
        Err(e) if policy == PullPolicy::Newer && here && e.is_of_registry() => Ok(()),
        other => other.map(|_| ()),
    }
}
