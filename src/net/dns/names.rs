//! Names that are known without asking anybody, and to whom.
//!
//! All who ask know the table's own names. What only one of them knows besides (a link, or the names of other
//! networks that it is in) is its [`View`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use super::table::{Reader, Writer};
use crate::sys;

/// A table of names that its owner may change while it is used. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    own: RwLock<HashMap<Vec<u8>, Vec<IpAddr>>>,
    views: RwLock<HashMap<IpAddr, Arc<View>>>,
    /// Where other processes read [`Self::own`].
    told: Mutex<Option<Writer>>,
    news: RwLock<Option<News>>,
    /// While names may be missing that somebody has.
    gathering: RwLock<Option<Gathering>>,
}

/// Those who have names are telling them.
#[derive(Debug, Clone, Copy)]
struct Gathering {
    /// Unless another one comes before.
    until: Instant,
    pause: Duration,
    /// Whoever comes.
    end: Instant,
}

/// Called before a name is looked for.
#[derive(Clone)]
struct News(Arc<dyn Fn(&Names) + Send + Sync>);

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("News")
    }
}

/// What one asker knows besides.
#[derive(Debug, Default)]
pub struct View {
    /// Another name, and what it stands for: both in lower case.
    pub links: Vec<(String, String)>,
    /// Names of other networks, looked for in this order.
    pub tables: Vec<Reader>,
}

fn key(name: &str) -> Vec<u8> {
    name.trim_end_matches('.').to_ascii_lowercase().into_bytes()
}

impl Names {
    /// From now on `name`, in whatever case, has these addresses; without any it is forgotten.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>) {
        self.change([(name.to_owned(), addresses)]);
    }

    /// The same for several, all of which are known, or forgotten, at one moment.
    pub fn change(&self, changes: impl IntoIterator<Item = (String, Vec<IpAddr>)>) {
        let Ok(mut own) = self.0.own.write() else { return };
        for (name, addresses) in changes {
            if addresses.is_empty() {
                own.remove(&key(&name));
            } else {
                own.insert(key(&name), addresses);
            }
        }
        if let Ok(mut told) = self.0.told.lock()
            && let Some(writer) = told.as_mut()
        {
            // Whoever finds nothing there knows less; nothing else goes wrong.
            let _ = writer.write(&own);
        }
    }

    /// Those who have names are telling them, for the first time or once more: until `pause` is over without another one
    /// ([`Names::another_came`]), and for `most` at the longest, nobody is told that a name is not there.
    pub fn gather(&self, now: Instant, pause: Duration, most: Duration) {
        if let Ok(mut gathering) = self.0.gathering.write() {
            *gathering = Some(Gathering { until: now + pause, pause, end: now + most });
        }
    }

    /// Another one has told his names.
    pub fn another_came(&self, now: Instant) {
        if let Ok(mut gathering) = self.0.gathering.write()
            && let Some(all) = gathering.as_mut()
            && now < all.until
        {
            all.until = (now + all.pause).min(all.end);
        }
    }

    pub(super) fn are_gathered(&self, now: Instant) -> bool {
        self.0.gathering.read().map_or(true, |all| all.is_none_or(|all| all.until <= now))
    }

    /// Where another process reads what is known here: for a [`Reader`] of its own.
    pub fn tell(&self) -> sys::Result<OwnedFd> {
        let own = self.0.own.read().map_err(|_| poisoned())?;
        let mut told = self.0.told.lock().map_err(|_| poisoned())?;
        if told.is_none() {
            let mut writer = Writer::new()?;
            writer.write(&own)?;
            *told = Some(writer);
        }
        told.as_ref().map_or_else(|| Err(poisoned()), Writer::share)
    }

    /// From now on whoever asks from this address has this view.
    pub fn show(&self, asker: IpAddr, view: &Arc<View>) {
        if let Ok(mut views) = self.0.views.write() {
            views.insert(asker, Arc::clone(view));
        }
    }

    /// The asker has gone.
    pub fn hide(&self, asker: IpAddr) {
        if let Ok(mut views) = self.0.views.write() {
            views.remove(&asker);
        }
    }

    /// `news` is called before each look-up: what came in meanwhile is taken note of when it is wanted.
    pub fn hear(&self, news: impl Fn(&Self) + Send + Sync + 'static) {
        if let Ok(mut place) = self.0.news.write() {
            *place = Some(News(Arc::new(news)));
        }
    }

    /// The addresses of a name in lower case; `None` when it is not known to the asker. `localhost` and what is below
    /// it is known everywhere (RFC 6761).
    pub(super) fn find(&self, name: &[u8], asker: IpAddr) -> Option<Vec<IpAddr>> {
        if name == b"localhost" || name.ends_with(b".localhost") {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(News(news)) = self.0.news.read().ok()?.clone() {
            news(self);
        }
        let view = self.0.views.read().ok()?.get(&asker).cloned();
        let link = view.iter().flat_map(|v| &v.links).find(|(alias, _)| alias.as_bytes() == name);
        let name = link.map_or(name, |(_, target)| target.as_bytes());
        if let Some(known) = self.0.own.read().ok()?.get(name) {
            return Some(known.clone());
        }
        view.iter().flat_map(|v| &v.tables).find_map(|table| table.find(name))
    }
}

fn poisoned() -> sys::Error {
    sys::Error::new("share the names", libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn each_asker_has_its_view() {
        let (here, there) = (Names::default(), Names::default());
        let table = Reader::new(there.tell().unwrap());
        here.set("Web.", vec![ONE]);
        let view = View { links: vec![("db".into(), "store".into())], tables: vec![table] };
        here.show(ONE, &Arc::new(view));
        assert_eq!(here.find(b"db", ONE), None);
        there.set("store", vec![TWO]);
        assert_eq!((here.find(b"db", ONE), here.find(b"store", ONE)), (Some(vec![TWO]), Some(vec![TWO])));
        assert_eq!((here.find(b"store", TWO), here.find(b"db", TWO)), (None, None));
        assert_eq!(here.find(b"web", TWO), Some(vec![ONE]));
        there.change([("store".into(), vec![]), ("shop".into(), vec![ONE, TWO])]);
        assert_eq!((here.find(b"store", ONE), here.find(b"shop", ONE)), (None, Some(vec![ONE, TWO])));
        here.hide(ONE);
        assert_eq!(here.find(b"shop", ONE), None);
    }

    #[test]
    fn news_are_heard_before_the_answer() {
        let names = Names::default();
        names.hear(|names| names.set("late", vec![ONE]));
        assert_eq!(names.find(b"late", TWO), Some(vec![ONE]));
    }

    #[test]
    fn nothing_is_missing_once_nobody_comes_any_more() {
        let second = Duration::from_secs(1);
        let (names, start) = (Names::default(), Instant::now());
        assert!(names.are_gathered(start));
        names.another_came(start);
        assert!(names.are_gathered(start), "nobody was awaited");
        names.gather(start, 2 * second, 5 * second);
        names.another_came(start + second);
        assert!(!names.are_gathered(start + 2 * second));
        names.another_came(start + 2 * second);
        assert!(!names.are_gathered(start + 3 * second));
        assert!(names.are_gathered(start + 4 * second));
        names.another_came(start + 4 * second);
        assert!(names.are_gathered(start + 4 * second), "all were there");
        names.gather(start, 2 * second, 5 * second);
        (1..5).for_each(|n| names.another_came(start + n * second));
        assert!(names.are_gathered(start + 5 * second), "some come for ever");
    }
}
