//! Names that are known without asking anybody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, RwLock};

/// A table of names that its owner may change while it is used. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<RwLock<HashMap<Vec<u8>, Vec<IpAddr>>>>);

impl Names {
    /// From now on `name`, in whatever case, has these addresses; without any it is forgotten.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>) {
        let name = name.trim_end_matches('.').to_ascii_lowercase().into_bytes();
        let Ok(mut table) = self.0.write() else { return };
        if addresses.is_empty() {
            table.remove(&name);
        } else {
            table.insert(name, addresses);
        }
    }

    /// The addresses of a name in lower case; `None` when it is not known here. `localhost` and what is below it is
    /// known everywhere (RFC 6761).
    pub(super) fn find(&self, name: &[u8]) -> Option<Vec<IpAddr>> {
        if name == b"localhost" || name.ends_with(b".localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        self.0.read().ok()?.get(name).cloned()
    }
}
