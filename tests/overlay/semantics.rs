//! What has to hold, case by case.

use std::fs;
use std::path::Path;

use super::Case;
use super::mounts::Dirs;

pub const CASES: &[Case] = &[("shows_layers", shows_layers)];

fn shows_layers(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    fs::write(dirs.lowers[1].join("low"), "low").unwrap();
    fs::write(dirs.lowers[0].join("mid"), "mid").unwrap();
    let mount = dirs.fuse();
    assert_eq!(fs::read(mount.at.join("low")).unwrap(), b"low");
    fs::write(mount.at.join("low"), "high").unwrap();
    assert_eq!(fs::read(mount.at.join("low")).unwrap(), b"high");
    assert_eq!(fs::read(dirs.lowers[1].join("low")).unwrap(), b"low");
}
