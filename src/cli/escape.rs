//! Foreign text on its way to a terminal: names, labels, image references, error texts.
//!
//! Nothing that passes here can move the cursor, change colours, forge a line or reverse the reading direction.

use std::borrow::Cow;

/// Whether a character does something to a terminal, or to the reader, instead of being shown.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escape(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if kept.contains(&c) || !acts(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// One line: line feeds and tabs are escaped too.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) { Cow::Owned(escape(text, &[])) } else { Cow::Borrowed(text) }
}

/// Text that may have lines and tabs of its own, as a template's result has.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    let kept = ['\n', '\t'];
    if text.chars().any(|c| acts(c) && !kept.contains(&c)) {
        Cow::Owned(escape(text, &kept))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_text_alone_and_disarms_the_rest() {
        assert!(matches!(line("böse Ünïcode ✓"), Cow::Borrowed(_)));
        assert_eq!(line("a\nb\tc\u{7f}"), "a\\nb\\tc\\x7f");
        assert_eq!(line("\u{1b}]0;title\u{7}"), "\\x1b]0;title\\x07");
        assert_eq!(line("\u{9b}31m"), "\\x9b31m");
        assert_eq!(line("abc\u{202e}def"), "abc\\u{202e}def");
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\\r");
    }
}
