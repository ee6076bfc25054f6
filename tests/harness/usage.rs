//! What the store occupies and holds, seen from outside: `du` beside `system df`, and what lies in staging.

use std::process::Command;

use super::Sandbox;
use super::sandbox::names_in;

impl Sandbox {
    /// `system df` says what `du` says, within one percent. A command may still be moving the database's log into its
    /// tables after its end: what changes meanwhile is asked again.
    #[track_caller]
    pub fn df_is_du(&self, when: &str) {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let before = self.du();
            let sizes = self.ok("system df --format '{{.Size}}'");
            let df: f64 = sizes.lines().iter().map(|size| bytes(size)).sum();
            let after = self.du();
            if [before, after].iter().any(|du| (df - du).abs() <= du / 100.0) {
                return;
            }
            seen.push(format!("df says {df}, du {before} before and {after} after it"));
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        panic!("{when}: {seen:#?}\n{}", self.ok("system df -v").stdout);
    }

    /// Bytes.
    fn du(&self) -> f64 {
        let out = Command::new("du").args(["-s", "--block-size=1"]).arg(self.store()).output().unwrap();
        String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Names of what is in this directory of the store.
    pub fn stored(&self, dir: &str) -> Vec<String> {
        names_in(&self.store().join(dir))
    }
}

/// Bytes of a size as docker prints it.
fn bytes(text: &str) -> f64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{other}"),
    };
    digits.parse::<f64>().unwrap() * unit
}
