//! Go templates (`--format`) with docker's functions, over JSON-shaped data.
//!
//! A field that does not exist is an error, as it is where docker formats a Go struct. `.Label "key"`, a method
//! there, is rewritten to a call of the function value that stands in the row under `Label`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{MissingKey, TemplateError, Value};

use super::failure::Failure;
use super::nulls;

/// What a template is executed over.
pub(super) trait Row {
    /// One field as text; `None` for what is no field or no text.
    fn field(&self, name: &str) -> Option<String>;
    /// All of it.
    fn whole(&self) -> Value;
}

impl Row for Value {
    fn field(&self, name: &str) -> Option<String> {
        let Self::Map(map) = self else { return None };
        as_str(map.get(name)?).map(str::to_owned)
    }

    fn whole(&self) -> Value {
        self.clone()
    }
}

/// A parsed template.
pub(super) struct Template {
    template: gotmpl::Template,
    /// The same where it is nothing but texts and fields, as most are: a listing of a thousand rows is then put
    /// together from the fields that it names, and not from all of them.
    plain: Option<Vec<Piece>>,
}

enum Piece {
    Text(String),
    Field(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let template = functions(gotmpl::Template::new("").missing_key(MissingKey::Error));
        Ok(Self { template: template.parse(&method_calls(text))?, plain: pieces(text) })
    }

    pub(super) fn execute(&self, data: &Value) -> Result<String, Failure> {
        Ok(self.template.execute_to_string(data)?)
    }

    /// [`Self::execute`] with each field changed by `escape`.
    pub(super) fn execute_row(
        &self,
        row: &impl Row,
        escape: fn(&str) -> std::borrow::Cow<'_, str>,
    ) -> Result<String, Failure> {
        let plain = |pieces: &Vec<Piece>| -> Option<String> {
            let mut out = String::with_capacity(128);
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.push_str(text),
                    Piece::Field(name) => out.push_str(&escape(&row.field(name)?)),
                }
            }
            Some(out)
        };
        match self.plain.as_ref().and_then(plain) {
            Some(text) => Ok(text),
            None => self.execute(&map_texts(&row.whole(), escape)),
        }
    }
}

/// `None` where an action is more than the name of a field.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}")?;
        let name = action.trim().strip_prefix('.')?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Field(name.to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(pieces)
}

/// A map with its texts changed.
fn map_texts(row: &Value, change: fn(&str) -> std::borrow::Cow<'_, str>) -> Value {
    let Value::Map(map) = row else { return row.clone() };
    let changed = map.iter().map(|(key, value)| {
        let value = match value {
            Value::String(text) => Value::String(change(text).as_ref().into()),
            other => other.clone(),
        };
        (key.clone(), value)
    });
    Value::Map(changed.collect::<BTreeMap<_, _>>().into())
}

/// One document through `format`, which may also be `json`; a line feed follows.
pub(super) fn one(format: &str, data: &serde_json::Value) -> Result<String, Failure> {
    if format.trim() == "json" {
        return Ok(format!("{data}\n"));
    }
    let text = Template::parse(&nulls::print_fields(format))?.execute(&from_json(data))?;
    Ok(text + "\n")
}

/// A row of texts.
pub(super) fn map<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    Value::Map(Arc::new(fields.into_iter().map(|(k, v)| (k.into(), Value::String(v.into()))).collect()))
}

/// A row of texts and the labels behind `.Label`.
pub(super) fn map_with_labels(fields: Vec<(&str, String)>, labels: BTreeMap<String, String>) -> Value {
    map_with(fields, move |key| labels.get(key).cloned().unwrap_or_default())
}

/// A row of texts and the function behind `.Label`.
pub(super) fn map_with(
    fields: Vec<(&str, String)>,
    label: impl Fn(&str) -> String + Send + Sync + 'static,
) -> Value {
    let Value::Map(map) = map(fields) else { return Value::Nil };
    let mut map = Arc::unwrap_or_clone(map);
    let label = move |args: &[Value]| Ok(text(label(string_arg("Label", args, 0)?)));
    map.insert("Label".into(), Value::Function(Arc::new(label)));
    Value::Map(Arc::new(map))
}

/// Turns `.Label "x"` inside `{{…}}` into `call .Label "x"`.
fn method_calls(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let close = rest[open..].find("}}").map_or(rest.len(), |at| open + at);
        out.push_str(&rest[..open]);
        let action = &rest[open..close];
        let mut from = 0;
        while let Some(at) = action[from..].find(".Label ").map(|at| from + at) {
            let is_whole = !action[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ')');
            out.push_str(&action[from..at]);
            out.push_str(if is_whole { "call .Label " } else { ".Label " });
            from = at + ".Label ".len();
        }
        out.push_str(&action[from..]);
        rest = &rest[close..];
    }
    out.push_str(rest);
    out
}

fn text(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

fn as_str(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

type Returned = Result<Value, TemplateError>;

fn string_arg<'a>(function: &str, args: &'a [Value], at: usize) -> Result<&'a str, TemplateError> {
    args.get(at)
        .and_then(as_str)
        .ok_or_else(|| TemplateError::Exec(format!("{function}: argument {} must be a string", at + 1)))
}

fn number_arg(function: &str, args: &[Value], at: usize) -> Result<usize, TemplateError> {
    let number = match args.get(at) {
        Some(Value::Int(n)) => usize::try_from(*n).ok(),
        Some(Value::Uint(n)) => usize::try_from(*n).ok(),
        _ => None,
    };
    // A bound, because the result is as long as the number is large.
    number.filter(|n| *n <= 4096).ok_or_else(|| {
        TemplateError::Exec(format!("{function}: argument {} must be a number from 0 to 4096", at + 1))
    })
}

/// docker's functions beside Go's own, and `index` with Go's answer for a missing key of a map of strings.
fn functions(template: gotmpl::Template) -> gotmpl::Template {
    template
        .func("json", |args| Ok(text(json(args.first().unwrap_or(&Value::Nil)))))
        .func("lower", |args| Ok(text(string_arg("lower", args, 0)?.to_lowercase())))
        .func("upper", |args| Ok(text(string_arg("upper", args, 0)?.to_uppercase())))
        .func("title", |args| Ok(text(title(string_arg("title", args, 0)?))))
        .func("split", |args| {
            let parts = string_arg("split", args, 0)?.split(string_arg("split", args, 1)?);
            Ok(Value::List(parts.map(text).collect()))
        })
        .func("join", join)
        .func("pad", |args| {
            let content = string_arg("pad", args, 0)?;
            if content.is_empty() {
                return Ok(text(""));
            }
            let (left, right) = (number_arg("pad", args, 1)?, number_arg("pad", args, 2)?);
            Ok(text(format!("{}{content}{}", " ".repeat(left), " ".repeat(right))))
        })
        .func("truncate", |args| {
            let length = number_arg("truncate", args, 1)?;
            Ok(text(string_arg("truncate", args, 0)?.chars().take(length).collect::<String>()))
        })
        .func("index", index)
}

fn join(args: &[Value]) -> Returned {
    let Some(Value::List(parts)) = args.first() else {
        return Err(TemplateError::Exec("join: argument 1 must be a list".into()));
    };
    let separator = string_arg("join", args, 1)?;
    let parts: Option<Vec<&str>> = parts.iter().map(as_str).collect();
    let parts = parts.ok_or_else(|| TemplateError::Exec("join: the list must hold strings".into()))?;
    Ok(text(parts.join(separator)))
}

/// Go's `strings.Title`: the first letter of each word in upper case.
fn title(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    let mut inside = false;
    for c in words.chars() {
        if inside {
            out.push(c)
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn index(args: &[Value]) -> Returned {
    let (first, keys) =
        args.split_first().ok_or_else(|| TemplateError::Exec("index: a value is needed".into()))?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| text("")),
            (Value::List(list), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| list.get(at).cloned())
                .ok_or_else(|| TemplateError::Exec(format!("index: {at} is out of range")))?,
            _ => {
                return Err(TemplateError::Exec(
                    "index: a list with a number, or a map with a string, is needed".into(),
                ));
            }
        };
    }
    Ok(value)
}

/// A template value as compact JSON.
pub(super) fn json(value: &Value) -> String {
    to_json(value).to_string()
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        null if nulls::is(null) => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::String(text) => text.as_ref().into(),
        Value::List(list) => list.iter().map(to_json).collect::<Vec<_>>().into(),
        Value::Map(map) => {
            // A function is a method of the row, not a field.
            let fields = map.iter().filter(|(_, v)| !matches!(v, Value::Function(_)));
            serde_json::Value::Object(fields.map(|(k, v)| (k.to_string(), to_json(v))).collect())
        }
        _ => serde_json::Value::Null,
    }
}

/// JSON as template data, with [`nulls`] of docker's types.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::Uint(n),
            (None, None) => Value::Float(n.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::String(text.as_str().into()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            let field = |(key, value): (&String, &serde_json::Value)| {
                let value = if value.is_null() { nulls::of(key) } else { from_json(value) };
                (key.as_str().into(), value)
            };
            Value::Map(Arc::new(map.iter().map(field).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect() -> serde_json::Value {
        serde_json::json!({
            "Id": "abc",
            "Name": "/web",
            "State": { "Status": "running", "Running": true, "Pid": 42, "ExitCode": 0 },
            "Config": { "Env": ["A=1", "B=2"], "Labels": { "com.x": "y" }, "Cmd": null, "Volumes": null,
                "Healthcheck": null },
            "Mounts": [{ "Source": "/a", "Destination": "/b" }],
        })
    }

    /// Templates from the docs and test lists of tools that call docker.
    #[test]
    fn answers_dockers_usual_templates() {
        let cases = [
            ("{{.State.Status}}", "running"),
            ("{{.State.Running}}", "true"),
            ("{{.State.Pid}} {{.State.ExitCode}}", "42 0"),
            ("{{json .State.Running}}", "true"),
            ("{{json .Config.Env}}", r#"["A=1","B=2"]"#),
            ("{{json .Config.Cmd}}", "null"),
            ("{{.Config.Cmd}} {{- .Config.Volumes -}} {{ .Config.Healthcheck }}", "[]map[]<nil>"),
            ("{{len .Config.Cmd}}{{range .Config.Cmd}}x{{end}}{{join .Config.Cmd \",\"}}", "0"),
            ("{{if .Config.Cmd}}a{{end}}{{if .Config.Healthcheck}}b{{else}}c{{end}}", "c"),
            ("{{json .Config.Volumes}}{{json .Config.Healthcheck}}", "nullnull"),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            ("{{join .Config.Env \",\"}}", "A=1,B=2"),
            ("{{index .Config.Labels \"com.x\"}}", "y"),
            ("{{index .Config.Labels \"none\"}}", ""),
            ("{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}", "/a:/b "),
            ("{{(index .Mounts 0).Source}}", "/a"),
            ("{{.Name | printf \"%.2s\"}}", "/w"),
            ("{{upper .Name}} {{title \"a bc\"}} {{lower \"AB\"}}", "/WEB A Bc ab"),
            ("{{pad .Id 1 2}}|{{truncate .Id 2}}", " abc  |ab"),
            ("{{len .Mounts}}", "1"),
            ("{{if eq .State.Status \"running\"}}yes{{else}}no{{end}}", "yes"),
            ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "com.x=y"),
            ("{{index (split .Name \"/\") 1}}", "web"),
            ("{{json .Mounts}}", r#"[{"Destination":"/b","Source":"/a"}]"#),
        ];
        for (format, expected) in cases {
            assert_eq!(one(format, &inspect()).unwrap(), format!("{expected}\n"), "{format}");
        }
    }

    #[test]
    fn refuses_what_is_not_there_and_what_is_too_much() {
        for format in ["{{.Nope}}", "{{.State.Nope}}", "{{.Id", "{{nope .Id}}", "{{pad .Id 99999999 0}}"] {
            assert!(one(format, &inspect()).is_err(), "{format}");
        }
    }

    #[test]
    fn calls_label_as_a_method() {
        let labels = BTreeMap::from([("a.b".to_owned(), "c".to_owned())]);
        let row = map_with_labels(vec![("ID", "x".into())], labels);
        let run = |format: &str| Template::parse(format).unwrap().execute(&row).unwrap();
        assert_eq!(run("{{.ID}} {{.Label \"a.b\"}}!"), "x c!");
        assert_eq!(run("{{.Label \"none\"}}.Label "), ".Label ");
        assert_eq!(run("{{upper (.Label \"a.b\")}}"), "C");
    }
}
