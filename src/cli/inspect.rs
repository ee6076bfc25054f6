//! `kelp inspect`, `kelp container inspect`, `kelp image inspect`.

use clap::Args;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome, complain};
use super::template;
use super::{complete, escape, output, unbuilt};
use crate::engine::{self, Engine};
use crate::error::ExitStatus;

/// How objects are printed.
#[derive(Debug, Args)]
struct Form {
    /// Print with a Go template, or as `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    form: Form,
    /// Add the sizes of a container
    #[arg(short, long)]
    size: bool,
    /// Look only for this kind: container, image or network
    #[arg(long = "type", value_name = "KIND", add = complete::kinds())]
    kind: Option<String>,
    /// Names or ids of containers, images or networks
    #[arg(required = true, value_name = "NAME|ID", add = complete::objects())]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct InspectContainer {
    #[command(flatten)]
    form: Form,
    /// Add the sizes
    #[arg(short, long)]
    size: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::containers())]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct InspectImage {
    #[command(flatten)]
    form: Form,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE", add = complete::images())]
    names: Vec<String>,
}

/// One object in docker's shape.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Object {
    Container(Box<engine::container::inspect::Container>),
    Image(Box<engine::image::inspect::Image>),
    Network(Box<engine::network::inspect::Network>),
}

/// docker's optional fields: not printed when empty, yet a template may ask for them (`{{if .State.Health}}`).
const OPTIONAL: &[(&str, &[&str])] = &[
    ("", &["SizeRw", "SizeRootFs"]),
    ("/State", &["Health"]),
    ("/Config", &["ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell"]),
];

impl Object {
    fn for_templates(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        for (place, fields) in OPTIONAL {
            if let Some(serde_json::Value::Object(object)) = value.pointer_mut(place) {
                for field in *fields {
                    object.entry(*field).or_insert(serde_json::Value::Null);
                }
            }
        }
        value
    }
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show everything about containers, images and networks";
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const DESCRIPTION: &'static str =
        "A JSON list in docker's shape. A name that means several is the container, else the image.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Is it running?", "kelp inspect -f '{{.State.Running}}' web"),
        ("Where is the log?", "kelp inspect -f '{{.LogPath}}' web"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::LATEST;

    fn run(self, context: &Context) -> Outcome {
        let size = self.size;
        let only = match self.kind.as_deref().unwrap_or_default() {
            "" => None,
            "container" => Some(Kind::Container),
            "image" => Some(Kind::Image),
            "network" => Some(Kind::Network),
            "volume" => return Err(unbuilt::failure("inspect --type volume")),
            other => return Err(Failure::Usage(unknown_kind(other))),
        };
        let engine = context.engine()?;
        let find = |kind, name: &str| match kind {
            Kind::Container => container(engine, name, size),
            Kind::Image => image(engine, name),
            Kind::Network => network(engine, name),
        };
        print(&self.names, &self.form, |name| {
            if let Some(kind) = only {
                return Ok(Some(find(kind, name)?));
            }
            for kind in [Kind::Container, Kind::Image, Kind::Network] {
                match find(kind, name) {
                    // What cannot be an image's name is no image either.
                    Err(e) if e.is_missing() || matches!(e, engine::Error::Invalid { .. }) => {}
                    other => return Ok(Some(other?)),
                }
            }
            Ok(None)
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Container,
    Image,
    Network,
}

/// docker's words. Of the others that it names, all belong to its swarms and plugins.
fn unknown_kind(kind: &str) -> String {
    format!(
        "unknown type: \"{}\": must be one of \"container\", \"image\", \"network\", \"volume\"",
        escape::line(kind)
    )
}

impl Verb for InspectContainer {
    const ABOUT: &'static str = "Show everything about containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Its process, as the host sees it", "kelp container inspect -f '{{.State.Pid}}' web")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        print(&self.names, &self.form, |name| Ok(Some(container(engine, name, self.size)?)))
    }
}

impl Verb for InspectImage {
    const ABOUT: &'static str = "Show everything about images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("What does it run?", "kelp image inspect -f '{{json .Config.Cmd}}' debian")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        print(&self.names, &self.form, |name| Ok(Some(image(engine, name)?)))
    }
}

fn container(engine: &Engine, name: &str, size: bool) -> engine::Result<Object> {
    Ok(Object::Container(Box::new(engine::container::inspect::container(engine, name, size)?)))
}

fn image(engine: &Engine, name: &str) -> engine::Result<Object> {
    Ok(Object::Image(Box::new(engine::image::inspect::inspect(engine, name)?)))
}

fn network(engine: &Engine, name: &str) -> engine::Result<Object> {
    Ok(Object::Network(Box::new(engine::network::inspect::inspect(engine, name)?)))
}

/// Prints what was found, then says what was not, as docker does. `None` is an object of no kind.
fn print(
    names: &[String],
    form: &Form,
    mut find: impl FnMut(&str) -> Result<Option<Object>, Failure>,
) -> Outcome {
    let mut found = Vec::new();
    let mut complaints = Vec::new();
    for name in names {
        match find(name) {
            Ok(Some(object)) => found.push(object),
            Ok(None) => complaints.push(format!("Error: No such object: {}\n", escape::line(name))),
            Err(failure) => complaints.push(failure.text()),
        }
    }
    match form.format.as_deref() {
        Some(format) if format.trim() != "json" => {
            let mut text = String::new();
            for object in &found {
                text += &template::one(format, &object.for_templates())?;
            }
            output::foreign(&text)?;
        }
        Some(_) => output::raw(&format!("{}\n", serde_json::to_string(&found).unwrap_or_default()))?,
        None => output::raw(&pretty(&found))?,
    }
    complain(&complaints.concat());
    Ok(if complaints.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
}

/// What the template makes of each.
pub(super) fn text_of(format: &str, objects: &[impl Serialize]) -> Result<String, Failure> {
    objects.iter().map(|o| template::one(format, &serde_json::to_value(o).unwrap_or_default())).collect()
}

/// Indented by four, as docker prints it.
pub(super) fn pretty(objects: &[impl Serialize]) -> String {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    // Maps with string keys and plain values: there is nothing that could fail.
    let _ = objects.serialize(&mut serializer);
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}
