//! `WWW-Authenticate`: which proof a registry asks for.

/// Bytes of one header. Looking for the next parameter takes as long as what is left: nobody may choose how long.
const MAX_HEADER: usize = 16 << 10;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String>, error: Option<String> },
}

/// The challenges of one header, unknown schemes left out. None in one that is longer than any sensible.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    if header.len() > MAX_HEADER {
        return found;
    }
    let mut rest = header.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
        let scheme = &rest[..end];
        let (parameters, after) = parameters(rest[end..].trim_start());
        let get = |name: &str| {
            let value = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            value.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            let (service, scope, error) = (get("service"), get("scope"), get("error"));
            found.push(Challenge::Bearer { realm, service, scope, error });
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// `name=value` or `name="value"`, separated by commas, up to where the next scheme begins.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let Some(equals) = rest.find('=') else { return (found, rest) };
        let name = rest[..equals].trim_end();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ',' || c == '"') {
            return (found, rest);
        }
        let value = rest[equals + 1..].trim_start();
        let (text, after) = value.strip_prefix('"').map_or_else(|| token(value), quoted);
        found.push((name.to_owned(), text));
        rest = after;
    }
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            c if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &text[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

fn token(text: &str) -> (String, &str) {
    let end = text.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push""#;
        assert_eq!(
            parse(header),
            [Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:library/alpine:pull,push".into()),
                error: None,
            }]
        );
        assert_eq!(parse("Basic realm=\"Registry Realm\""), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(parse("Negotiate, Basic realm=x"), [Challenge::Basic]);
        let two = parse(r#"Basic realm="a", Bearer realm="b\"c""#);
        assert_eq!(two.len(), 2);
        assert!(matches!(&two[1], Challenge::Bearer { realm, .. } if realm == "b\"c"));
    }

    #[test]
    fn survives_nonsense() {
        for text in [
            "",
            ",",
            "=",
            "Bearer",
            "Bearer realm",
            "Bearer realm=\"",
            "\"",
            "a b c",
            "Bearer =x,,=",
            "é=\"é",
        ] {
            parse(text);
        }
        assert_eq!(parse("Bearer service=x"), []);
        let long = "basic ".repeat(100_000);
        assert_eq!(parse(&long), []);
    }
}
