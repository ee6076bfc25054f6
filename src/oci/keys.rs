//! docker's way to write a sequence of keys, for `--detach-keys` and `detach-keys`.

/// The bytes that a terminal sends for `text`: keys separated by commas, each one character or `ctrl-` and one of
/// `a`-`z`, `@`, `[`, `\`, `]`, `^`, `_`. The empty text is no sequence at all. The error says what a key is.
pub fn sequence(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let key = |key: &str| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([byte], _) => Ok(*byte),
        (_, Some([letter @ b'a'..=b'z'])) => Ok(letter - b'a' + 1),
        (_, Some(b"@")) => Ok(0),
        (_, Some([sign @ b'['..=b'_'])) => Ok(sign - b'@'),
        (_, Some(_)) => Err("`ctrl-` takes one of a-z, @, [, \\, ], ^, _"),
        _ => Err("a key is one character, or ctrl- and one character"),
    };
    text.split(',').map(key).collect()
}
