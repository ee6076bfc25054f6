//! `manifest.json` of docker's archives: which files of the archive are an image, and what it is called.

use serde::{Deserialize, Serialize};

use super::{Error, MAX_LAYERS, MAX_MANIFESTS, limit, parse_document};

/// One image of a docker archive. Paths are names of other members, judged by whoever looks them up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerArchiveItem {
    pub config: String,
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub layers: Vec<String>,
}

/// The archive's images in their order.
pub fn parse_archive_manifest(bytes: &[u8]) -> Result<Vec<DockerArchiveItem>, Error> {
    const WHAT: &str = "archive's manifest.json";
    let items: Vec<DockerArchiveItem> = parse_document(WHAT, bytes)?;
    limit(WHAT, "images", items.len(), MAX_MANIFESTS)?;
    for item in &items {
        limit(WHAT, "layers", item.layers.len(), MAX_LAYERS)?;
        limit(WHAT, "tags", item.repo_tags.len(), MAX_MANIFESTS)?;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_tags_are_none() {
        let items =
            parse_archive_manifest(br#"[{"Config":"a.json","RepoTags":null,"Layers":["l/layer.tar"]}]"#)
                .unwrap();
        assert!(items[0].repo_tags.is_empty());
        assert_eq!(items[0].layers, ["l/layer.tar"]);
    }

    #[test]
    fn not_a_list_is_an_error() {
        assert!(parse_archive_manifest(b"{}").is_err());
        assert!(parse_archive_manifest(b"").is_err());
    }
}
