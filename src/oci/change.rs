//! `--change`: one Dockerfile instruction applied to an image config.
//!
//! The instructions are those that only touch the config, with the meaning that `docker import -c` gives them.
//! Anything else is refused, also inside `ONBUILD`'s own list of forbidden ones.

use std::str::FromStr;

use super::config::{ContainerConfig, Empty, Healthcheck};

/// One parsed instruction: the keyword in capitals, and the rest of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    keyword: &'static str,
    rest: String,
}

/// Why an instruction cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("`{0}` is not a valid change command")]
    NotAChange(String),
    #[error("{keyword} needs an argument")]
    Empty { keyword: &'static str },
    #[error("{keyword} {rest}: {reason}")]
    Invalid { keyword: &'static str, rest: String, reason: String },
}

const KEYWORDS: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(s: &str) -> Result<Self, ChangeError> {
        let line = s.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let upper = word.to_ascii_uppercase();
        let keyword = KEYWORDS
            .into_iter()
            .find(|k| *k == upper)
            .ok_or_else(|| ChangeError::NotAChange(word.to_ascii_lowercase()))?;
        let rest = rest.trim().to_string();
        if rest.is_empty() && !matches!(keyword, "CMD" | "ENTRYPOINT") {
            return Err(ChangeError::Empty { keyword });
        }
        Ok(Self { keyword, rest })
    }
}

impl Change {
    /// In capitals.
    pub fn keyword(&self) -> &'static str {
        self.keyword
    }

    /// Writes the instruction's effect into `config`.
    pub fn apply(&self, config: &mut ContainerConfig) -> Result<(), ChangeError> {
        let rest = self.rest.as_str();
        match self.keyword {
            "CMD" => config.cmd = command(rest),
            "ENTRYPOINT" => config.entrypoint = command(rest),
            "ENV" => {
                for (key, value) in self.pairs(config)? {
                    let entry = format!("{key}={value}");
                    match config.env.iter_mut().find(|e| e.split('=').next() == Some(key.as_str())) {
                        // docker keeps its place.
                        Some(known) => *known = entry,
                        None => config.env.push(entry),
                    }
                }
            }
            "LABEL" => config.labels.extend(self.pairs(config)?),
            "EXPOSE" => {
                for word in self.words(config)? {
                    for port in self.ports(&word)? {
                        config.exposed_ports.insert(port, Empty {});
                    }
                }
            }
            "USER" => config.user = self.one(config)?,
            "VOLUME" => self.volumes(config)?,
            "WORKDIR" => {
                let path = self.one(config)?;
                config.working_dir = join(&config.working_dir, &path);
            }
            "STOPSIGNAL" => config.stop_signal = self.one(config)?,
            "HEALTHCHECK" => config.healthcheck = Some(self.healthcheck()?),
            "ONBUILD" => {
                let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                    return Err(self.invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")));
                }
                config.on_build.push(rest.to_string());
            }
            _ => return Err(ChangeError::NotAChange(self.keyword.to_ascii_lowercase())),
        }
        Ok(())
    }

    fn invalid(&self, reason: impl Into<String>) -> ChangeError {
        ChangeError::Invalid { keyword: self.keyword, rest: self.rest.clone(), reason: reason.into() }
    }

    /// The rest of the line as words: quotes and backslashes taken away, `$NAME` replaced from the config's Env.
    fn words(&self, config: &ContainerConfig) -> Result<Vec<String>, ChangeError> {
        split_words(&self.rest, &config.env).map_err(|reason| self.invalid(reason))
    }

    /// The rest of the line as one value.
    fn one(&self, config: &ContainerConfig) -> Result<String, ChangeError> {
        match self.words(config)?.as_slice() {
            [word] => Ok(word.clone()),
            _ => Err(self.invalid("exactly one argument is expected")),
        }
    }

    /// `K=V K2=V2`, or the old `K the rest`.
    fn pairs(&self, config: &ContainerConfig) -> Result<Vec<(String, String)>, ChangeError> {
        let first = self.rest.split_whitespace().next().unwrap_or_default();
        if !first.contains('=') {
            let Some((key, value)) = self.rest.split_once(char::is_whitespace) else {
                return Err(self.invalid("key=value is expected"));
            };
            let value = split_words(value.trim(), &config.env).map_err(|reason| self.invalid(reason))?;
            return Ok(vec![(key.to_string(), value.join(" "))]);
        }
        self.words(config)?
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
                _ => Err(self.invalid(format!("`{word}` is not key=value"))),
            })
            .collect()
    }

    /// `80`, `80/udp`, `8000-8010/tcp`.
    fn ports(&self, word: &str) -> Result<Vec<String>, ChangeError> {
        let bad = || self.invalid(format!("`{word}` is not port[-port][/protocol]"));
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(bad());
        }
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (u16, u16) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
        if low > high {
            return Err(bad());
        }
        Ok((low..=high).map(|port| format!("{port}/{protocol}")).collect())
    }

    fn volumes(&self, config: &mut ContainerConfig) -> Result<(), ChangeError> {
        let paths = match json_words(&self.rest) {
            Some(paths) => paths,
            None => self.words(config)?,
        };
        for path in paths {
            if path.trim().is_empty() {
                return Err(self.invalid("a volume's path cannot be empty"));
            }
            config.volumes.insert(path, Empty {});
        }
        Ok(())
    }

    fn healthcheck(&self) -> Result<Healthcheck, ChangeError> {
        let mut check = Healthcheck::default();
        let mut rest = self.rest.as_str();
        while let Some(option) = rest.strip_prefix("--") {
            let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
            rest = after.trim_start();
            let (name, value) =
                option.split_once('=').ok_or_else(|| self.invalid("--option=value is expected"))?;
            if name == "retries" {
                check.retries = value
                    .parse()
                    .ok()
                    .filter(|n| *n >= 0)
                    .ok_or_else(|| self.invalid("--retries takes a number"))?;
                continue;
            }
            let time = duration(value)
                .ok_or_else(|| self.invalid(format!("`{value}` is not a duration such as 30s")))?;
            match name {
                "interval" => check.interval = time,
                "timeout" => check.timeout = time,
                "start-period" => check.start_period = time,
                "start-interval" => check.start_interval = time,
                _ => return Err(self.invalid(format!("unknown option --{name}"))),
            }
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let command = command.trim();
        check.test = match kind.to_ascii_uppercase().as_str() {
            "NONE" if command.is_empty() => vec!["NONE".into()],
            "CMD" if !command.is_empty() => match json_words(command) {
                Some(words) => std::iter::once("CMD".to_string()).chain(words).collect(),
                None => vec!["CMD-SHELL".into(), command.into()],
            },
            _ => return Err(self.invalid("CMD command or NONE is expected")),
        };
        Ok(check)
    }
}

/// The exec form as it is, the shell form through `/bin/sh -c`.
fn command(rest: &str) -> Vec<String> {
    match json_words(rest) {
        Some(words) => words,
        None if rest.is_empty() => Vec::new(),
        None => vec!["/bin/sh".into(), "-c".into(), rest.into()],
    }
}

fn json_words(s: &str) -> Option<Vec<String>> {
    s.starts_with('[').then(|| serde_json::from_str(s).ok()).flatten()
}

/// Go's durations, of which a health check uses hours to milliseconds, in nanoseconds.
fn duration(s: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = s;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let unit_len = rest[digits..].bytes().take_while(|b| !b.is_ascii_digit()).count();
        let unit = match &rest[digits..digits + unit_len] {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1000,
            "ns" => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + unit_len..];
    }
    (!s.is_empty()).then_some(total)
}

/// A later `WORKDIR` is relative to the one before it.
fn join(old: &str, new: &str) -> String {
    if new.starts_with('/') { new.to_string() } else { format!("{}/{new}", old.trim_end_matches('/')) }
}

/// Splits as Dockerfiles do: single quotes are literal, in double quotes and outside them a backslash takes the
/// next character and `$NAME`, `${NAME}` are replaced.
fn split_words(s: &str, env: &[String]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = s.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().push(chars.next().unwrap_or('\\')),
            ('$', None | Some('"')) => {
                let value = variable(&mut chars, env)?;
                word.get_or_insert_default().push_str(&value);
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, env: &[String]) -> Result<String, String> {
    let braces = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if braces && chars.next_if_eq(&'}').is_none() {
        return Err("of ${…} only a plain name between the braces is supported".into());
    }
    if name.is_empty() {
        return Ok("$".into());
    }
    let value = env.iter().rev().find_map(|e| e.split_once('=').filter(|(k, _)| *k == name));
    Ok(value.map(|(_, v)| v.to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(lines: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        for line in lines {
            line.parse::<Change>().unwrap().apply(&mut config).unwrap();
        }
        config
    }

    #[test]
    fn each_instruction() {
        let c = apply(&[
            r#"CMD ["sh", "-l"]"#,
            "entrypoint run me",
            r#"ENV A=1 B="two words" C=\$x"#,
            "ENV D $A and more",
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL x=y z='a b'",
            "USER nobody:users",
            r#"VOLUME ["/data", "/more"]"#,
            "VOLUME /third",
            "WORKDIR /srv",
            "WORKDIR www",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost",
            "ONBUILD RUN true",
        ]);
        assert_eq!(c.cmd, ["sh", "-l"]);
        assert_eq!(c.entrypoint, ["/bin/sh", "-c", "run me"]);
        assert_eq!(c.env, ["A=1", "B=two words", "C=$x", "D=1 and more"]);
        assert_eq!(c.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(c.labels["z"], "a b");
        assert_eq!(c.user, "nobody:users");
        assert_eq!(c.volumes.len(), 3);
        assert_eq!(c.working_dir, "/srv/www");
        assert_eq!(c.stop_signal, "SIGINT");
        let check = c.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl localhost"]);
        assert_eq!(c.on_build, ["RUN true"]);
    }

    #[test]
    fn refusals() {
        for bad in ["RUN true", "COPY a b", "", "ENV", "USER"] {
            assert!(bad.parse::<Change>().is_err(), "{bad}");
        }
        for bad in [
            "ENV lonely",
            "EXPOSE x",
            "EXPOSE 9-1",
            "EXPOSE 1/icmp",
            "USER a b",
            "LABEL =x",
            "ENV a='x",
            "HEALTHCHECK",
            "HEALTHCHECK --x=1s CMD a",
            "HEALTHCHECK CMD",
            "ONBUILD FROM x",
            "ENV a=${b:-c}",
        ] {
            let outcome = bad.parse::<Change>().and_then(|c| c.apply(&mut ContainerConfig::default()));
            assert!(outcome.is_err(), "{bad}");
        }
    }
}
