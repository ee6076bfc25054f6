//! Listings: one template over many rows, plain, as a table, or as JSON lines.

use std::fmt::Write;

use gotmpl::Value;
use unicode_width::UnicodeWidthStr;

use super::escape;
use super::failure::Failure;
use super::template::{self, Row, Template};

/// A field that a listing's template may name, and what stands above it in a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) field: &'static str,
    pub(super) header: &'static str,
}

/// A `--format`, understood.
pub(super) enum Listing {
    Json,
    Lines(Template),
    Table { template: Template, headers: Value },
}

impl Listing {
    /// `table`, `table TEMPLATE`, `json`, or a template; `table` alone is `default`.
    pub(super) fn parse(format: &str, default: &str, columns: &[Column]) -> Result<Self, Failure> {
        // Shells hand `\t` over as two characters.
        let unescaped = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        let format = match format.trim() {
            "json" => return Ok(Self::Json),
            "table" | "" => default,
            // A line feed at the end is one more line for each row, as with docker.
            _ => format.trim_matches(' '),
        };
        match format.strip_prefix("table") {
            Some(rest) => {
                let template = Template::parse(unescaped(rest).trim())?;
                let headers = columns.iter().map(|c| (c.field, c.header.to_owned())).collect();
                let headers = template::map_with(headers, header_of_label);
                Ok(Self::Table { template, headers })
            }
            None => Ok(Self::Lines(Template::parse(&unescaped(format))?)),
        }
    }

    /// One line for each row, the header above a table.
    pub(super) fn render<R: Row>(&self, rows: impl Iterator<Item = R>) -> Result<String, Failure> {
        let mut out = String::new();
        match self {
            Self::Json => {
                for row in rows {
                    let _ = writeln!(out, "{}", template::json(&row.whole()));
                }
            }
            Self::Lines(template) => {
                for row in rows {
                    let _ = writeln!(out, "{}", template.execute_row(&row, |text| text.into())?);
                }
            }
            Self::Table { template, headers } => {
                let mut lines = vec![template.execute(headers)?];
                // Cells are escaped before they are laid out: no name can make a column or a line of its own.
                for row in rows {
                    lines.push(template.execute_row(&row, escape::line)?);
                }
                out = align(&lines);
            }
        }
        Ok(out)
    }
}

/// docker's `--format raw`: a line for each field, and an empty one after each row.
pub(super) fn raw<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    fields.map(|field| format!("{field}\n")).collect()
}

/// What docker writes above a `.Label "com.example.cpu-set"`: `cpu set`.
fn header_of_label(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ")
}

/// Go's tabwriter as docker sets it up: cells at least ten wide, three spaces between, the last one as it is.
fn align(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> =
        lines.iter().flat_map(|l| l.split('\n')).map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = (cell.width() + 3).max(10);
            match widths.get_mut(at) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                let gap = widths.get(at).copied().unwrap_or_default().saturating_sub(cell.width());
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column { field: "ID", header: "CONTAINER ID" }, Column { field: "Names", header: "NAMES" }];

    fn rows() -> impl Iterator<Item = Value> {
        [("abcdef012345", "web"), ("0123456789ab", "a\u{1b}[2J\tb")]
            .into_iter()
            .map(|(id, name)| template::map([("ID", id.to_owned()), ("Names", name.to_owned())]))
    }

    #[test]
    fn makes_dockers_tables() {
        let listing = Listing::parse("table {{.ID}}\\t{{.Names}}", "", COLUMNS).unwrap();
        assert_eq!(
            listing.render(rows()).unwrap(),
            "CONTAINER ID   NAMES\nabcdef012345   web\n0123456789ab   a\\x1b[2J\\tb\n"
        );
        let narrow = Listing::parse("table", "table {{.Names}}\\t{{.ID}}", COLUMNS).unwrap();
        assert!(narrow.render(rows().take(1)).unwrap().starts_with("NAMES     CONTAINER ID\nweb       abc"));
    }

    #[test]
    fn prints_lines_and_json_lines() {
        let listing = Listing::parse("{{.ID}} {{.Names}}", "", COLUMNS).unwrap();
        assert_eq!(listing.render(rows().take(1)).unwrap(), "abcdef012345 web\n");
        let listing = Listing::parse("json", "", COLUMNS).unwrap();
        assert_eq!(listing.render(rows().take(1)).unwrap(), "{\"ID\":\"abcdef012345\",\"Names\":\"web\"}\n");
        let listing = Listing::parse(" {{.ID}}\\n ", "", COLUMNS).unwrap();
        assert_eq!(listing.render(rows().take(1)).unwrap(), "abcdef012345\n\n");
        assert!(Listing::parse("{{.ID", "", COLUMNS).is_err());
        let unknown = Listing::parse("{{.Nope}}", "", COLUMNS).unwrap();
        assert!(unknown.render(rows()).is_err());
    }
}
