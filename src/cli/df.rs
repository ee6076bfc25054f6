//! `kelp system df`.

use clap::Args;
use gotmpl::Value;
use jiff::Timestamp;
use serde_json::json;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::table::{Column, Listing};
use super::{human, images, output, ps, template};
use crate::engine::system::{self, ContainerUse, DiskFree, ImageUse, Kind};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Df {
    /// Print with a Go template, as `table TEMPLATE` or as `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show each image and each container
    #[arg(short, long)]
    verbose: bool,
}

const COLUMNS: &[Column] = &[
    Column { field: "Type", header: "TYPE" },
    Column { field: "TotalCount", header: "TOTAL" },
    Column { field: "Active", header: "ACTIVE" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Reclaimable", header: "RECLAIMABLE" },
];
const TABLE: &str = "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}";
const IMAGES: &str = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t{{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}";

impl Verb for Df {
    const ABOUT: &'static str = "Show what the store occupies on the disk";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str = "Sizes are blocks on the disk: an image's are its layers, unpacked, and its blobs, \
        as received; a container's its writable layer, its log and its configuration; the last row is the database and \
        what is being worked on. Together they are what du(1) says of the store. kelp keeps no volumes and no build \
        cache yet; docker's rows for them are there for scripts.\n\nWith --verbose and --format, the template sees \
        Images, Containers, Volumes and BuildCache.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("What would a prune give back?", "kelp system df --format '{{.Type}}: {{.Reclaimable}}'"),
        ("Which image is the largest?", "kelp system df -v"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let df = system::df(context.engine()?)?;
        let now = Timestamp::now();
        let text = match (self.verbose, self.format.as_deref()) {
            (false, format) => {
                let listing = Listing::parse(format.unwrap_or(TABLE), TABLE, COLUMNS)?;
                listing.render(rows(&df).into_iter())?
            }
            (true, None | Some("table")) => verbose(&df, now)?,
            (true, Some(format)) => template::one(format, &document(&df, now))?,
        };
        output::foreign(&text)?;
        Ok(ExitStatus::Success)
    }
}

fn rows(df: &DiskFree) -> Vec<Value> {
    let none = Kind::default();
    [
        ("Images", &df.images),
        ("Containers", &df.containers),
        ("Local Volumes", &none),
        ("Build Cache", &none),
        ("Metadata", &df.metadata),
    ]
    .into_iter()
    .map(|(name, kind)| {
        template::map([
            ("Type", name.to_owned()),
            ("TotalCount", kind.total.to_string()),
            ("Active", kind.active.to_string()),
            ("Size", human::long_size(kind.size)),
            ("Reclaimable", reclaimable(name, kind)),
        ])
    })
    .collect()
}

/// docker gives the share of images and containers only.
fn reclaimable(name: &str, kind: &Kind) -> String {
    let size = human::long_size(kind.reclaimable);
    match (kind.reclaimable * 100).checked_div(kind.size) {
        Some(percent) if matches!(name, "Images" | "Containers") => format!("{size} ({percent}%)"),
        _ => size,
    }
}

fn verbose(df: &DiskFree, now: Timestamp) -> Result<String, Failure> {
    let images = Listing::parse(IMAGES, IMAGES, images::COLUMNS)?;
    let containers = Listing::parse(CONTAINERS, CONTAINERS, ps::COLUMNS)?;
    let images = images.render(df.image_list.iter().map(|i| template::map(image(i, false, now))))?;
    let containers =
        containers.render(df.container_list.iter().map(|c| template::map(container(c, false, now))))?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n\
         VOLUME NAME   LINKS     SIZE\n\nBuild cache usage: 0B\n\nMetadata usage: {}\n",
        human::long_size(df.metadata.size)
    ))
}

fn document(df: &DiskFree, now: Timestamp) -> serde_json::Value {
    let object = |fields: Vec<(&'static str, String)>| {
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect::<serde_json::Map<_, _>>()
    };
    let images: Vec<_> = df.image_list.iter().map(|i| object(image(i, true, now))).collect();
    let containers: Vec<_> = df.container_list.iter().map(|c| object(container(c, true, now))).collect();
    json!({
        "Images": images,
        "Containers": containers,
        "Volumes": [],
        "BuildCache": [],
        "Metadata": human::long_size(df.metadata.size),
    })
}

fn image(image: &ImageUse, whole: bool, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut fields = images::fields(&image.row, whole, now);
    set(&mut fields, "Size", human::size(image.shared + image.unique));
    set(&mut fields, "VirtualSize", human::size(image.shared + image.unique));
    set(&mut fields, "SharedSize", human::long_size(image.shared));
    set(&mut fields, "UniqueSize", human::long_size(image.unique));
    set(&mut fields, "Containers", image.containers.to_string());
    fields
}

fn container(container: &ContainerUse, whole: bool, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut fields = ps::fields(&container.row, whole, now);
    set(&mut fields, "Size", human::long_size(container.size));
    fields
}

fn set(fields: &mut [(&'static str, String)], name: &str, value: String) {
    if let Some(field) = fields.iter_mut().find(|(known, _)| *known == name) {
        field.1 = value;
    }
}
