//! `kelp images --tree`: docker's table of images with a branch for each platform.

use unicode_width::UnicodeWidthStr;

use super::human;
use crate::engine::image::variants::{Family, Variant};

/// Between two columns.
const GAP: &str = "   ";
const UNTAGGED: &str = "<untagged>";

/// The whole table. docker's legend and colours, which say nothing more, are left out.
pub(super) fn text(families: &[Family]) -> String {
    let width = families.iter().map(width).max().unwrap_or_default().max("IMAGE".len());
    let mut out = row("IMAGE", width, "ID", ["DISK USAGE", "CONTENT SIZE"], "EXTRA");
    for family in families {
        let (names, last) = match family.names.split_last() {
            Some((last, names)) => (names, last.as_str()),
            None => (&[][..], UNTAGGED),
        };
        for name in names {
            out.push_str(&padded(name, width));
            out.push('\n');
        }
        out.push_str(&variant(last, width, &family.image));
        for (at, branch) in family.variants.iter().enumerate() {
            let sign = if at + 1 == family.variants.len() { "└─ " } else { "├─ " };
            out.push_str(&variant(&format!("{sign}{}", branch.platform), width, branch));
        }
        out.push('\n');
    }
    out
}

fn width(family: &Family) -> usize {
    let names = family.names.iter().map(|name| name.width());
    let branches = family.variants.iter().map(|variant| variant.platform.width() + 3);
    names.chain(branches).max().unwrap_or_default().max(if family.names.is_empty() {
        UNTAGGED.len()
    } else {
        0
    })
}

fn variant(name: &str, width: usize, variant: &Variant) -> String {
    let hex = variant.id.strip_prefix("sha256:").unwrap_or(&variant.id);
    let sizes = [human::size(variant.disk), human::size(variant.content)];
    let id: String = hex.chars().take(12).collect();
    row(name, width, &id, [&sizes[0], &sizes[1]], if variant.in_use { "U" } else { "" })
}

fn row(name: &str, width: usize, id: &str, [disk, content]: [&str; 2], extra: &str) -> String {
    format!("{}{GAP}{id:12}{GAP}{disk:>10}{GAP}{content:>12}{GAP}{extra:5}\n", padded(name, width))
}

fn padded(text: &str, width: usize) -> String {
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    format!("{text}{blanks}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_dockers_table() {
        let variant = |platform: &str, digit: &str, in_use| Variant {
            platform: platform.into(),
            id: format!("sha256:{}", digit.repeat(64)),
            disk: 13_600_000,
            content: 4_090_000,
            in_use,
        };
        let variants = vec![variant("linux/amd64", "b", true), variant("linux/arm64", "c", false)];
        let names = vec!["alpine:3".into(), "alpine:latest".into()];
        let family = Family { names, image: variant("linux/amd64", "b", true), variants };
        let lonely =
            Family { names: Vec::new(), image: variant("linux/arm64", "d", false), variants: Vec::new() };
        let expected = "\
IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA
alpine:3      \n\
alpine:latest    bbbbbbbbbbbb       13.6MB         4.09MB   U    \n\
├─ linux/amd64   bbbbbbbbbbbb       13.6MB         4.09MB   U    \n\
└─ linux/arm64   cccccccccccc       13.6MB         4.09MB        \n\
\n\
<untagged>       dddddddddddd       13.6MB         4.09MB        \n\
\n";
        assert_eq!(text(&[family, lonely]), expected);
    }
}
