//! Flows by number. A number that outlived its flow means nothing, not another flow.

/// Names one entry of one slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    index: u32,
    generation: u32,
}

/// What an event of the poller is about, packed into its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Tun,
    Wake,
    Stop,
    Tcp(Slot),
    Udp(Slot),
    Ping(Slot),
    Listener(Slot),
}

/// Generations that a number holds.
const GENERATIONS: u32 = 1 << 28;

/// Entries of one kind.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, entry: T) -> Slot {
        if let Some(index) = self.free.pop()
            && let Some((generation, place)) = self.entries.get_mut(index as usize)
        {
            *place = Some(entry);
            return Slot { index, generation: *generation };
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push((0, Some(entry)));
        Slot { index, generation: 0 }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let (generation, entry) = self.entries.get(slot.index as usize)?;
        if *generation == slot.generation { entry.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (generation, entry) = self.entries.get_mut(slot.index as usize)?;
        if *generation == slot.generation { entry.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let (generation, entry) = self.entries.get_mut(slot.index as usize)?;
        if *generation != slot.generation {
            return None;
        }
        let entry = entry.take()?;
        *generation = (*generation + 1) % GENERATIONS;
        self.free.push(slot.index);
        Some(entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().zip(0u32..).filter_map(|((generation, entry), index)| {
            Some((Slot { index, generation: *generation }, entry.as_ref()?))
        })
    }
}

impl Token {
    pub(super) fn number(self) -> u64 {
        let (kind, slot) = match self {
            Self::Tun => (0, None),
            Self::Wake => (1, None),
            Self::Stop => (2, None),
            Self::Tcp(slot) => (3, Some(slot)),
            Self::Udp(slot) => (4, Some(slot)),
            Self::Ping(slot) => (5, Some(slot)),
            Self::Listener(slot) => (6, Some(slot)),
        };
        let slot = slot.unwrap_or(Slot { index: 0, generation: 0 });
        (kind << 60) | (u64::from(slot.generation % GENERATIONS) << 32) | u64::from(slot.index)
    }

    pub(super) fn of(number: u64) -> Option<Self> {
        let index = u32::try_from(number & 0xffff_ffff).ok()?;
        let generation = u32::try_from((number >> 32) & u64::from(GENERATIONS - 1)).ok()?;
        let slot = Slot { index, generation };
        Some(match number >> 60 {
            0 => Self::Tun,
            1 => Self::Wake,
            2 => Self::Stop,
            3 => Self::Tcp(slot),
            4 => Self::Udp(slot),
            5 => Self::Ping(slot),
            6 => Self::Listener(slot),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Slab, Token};

    #[test]
    fn an_old_number_means_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!((slab.get(first), slab.get(second), slab.len()), (None, Some(&'b'), 1));
        assert_eq!(slab.remove(first), None);
        assert_eq!(Token::of(Token::Udp(second).number()), Some(Token::Udp(second)));
    }
}
