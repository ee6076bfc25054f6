//! Names for containers that were given none: an adjective and a surname, as docker makes them.
//!
//! The adjectives are of the sea and of good weather, the surnames are of people who went to sea, looked into
//! it, or drew it.

use super::id::Name;

const ADJECTIVES: [&str; 96] = [
    "adrift", "agile", "amber", "ample", "anchored", "azure", "balmy", "blithe", "bold", "bonny", "brave",
    "breezy", "bright", "brisk", "buoyant", "calm", "candid", "cheery", "clear", "coastal", "cobalt",
    "coral", "cosy", "crisp", "curious", "daring", "deep", "dewy", "eager", "earnest", "easy", "fair",
    "faithful", "fleet", "floating", "fluent", "fond", "foamy", "frank", "fresh", "gallant", "gentle",
    "glad", "gleaming", "golden", "graceful", "hardy", "hazy", "hearty", "honest", "humble", "jaunty",
    "jolly", "keen", "kind", "leafy", "limber", "limpid", "lively", "loyal", "lucid", "lucky", "lunar",
    "mellow", "merry", "mild", "misty", "modest", "nimble", "noble", "patient", "pearly", "placid", "plucky",
    "proud", "quiet", "rapid", "ready", "rosy", "salty", "serene", "silver", "sincere", "snug", "spry",
    "steady", "sunlit", "sunny", "supple", "swift", "tidal", "tranquil", "trusty", "vivid", "warm",
    "windward",
];

const SURNAMES: [&str; 84] = [
    "agassiz",
    "amundsen",
    "anning",
    "ballard",
    "banks",
    "baret",
    "beaufort",
    "beebe",
    "behaim",
    "bering",
    "bligh",
    "bonny",
    "bougainville",
    "bowditch",
    "bowen",
    "cabot",
    "carson",
    "carpenter",
    "cartier",
    "charcot",
    "cook",
    "cousteau",
    "cunitz",
    "dampier",
    "darwin",
    "drake",
    "earle",
    "eriksson",
    "ferrel",
    "fitzroy",
    "flinders",
    "forbes",
    "franklin",
    "frobisher",
    "gagnan",
    "gama",
    "gould",
    "haeckel",
    "halley",
    "harrison",
    "harvey",
    "heezen",
    "henson",
    "heyerdahl",
    "hudson",
    "humboldt",
    "kane",
    "krusenstern",
    "laperouse",
    "lovell",
    "magellan",
    "marsigli",
    "maury",
    "mercator",
    "munk",
    "nansen",
    "nordenskiold",
    "oersted",
    "ortelius",
    "parry",
    "peary",
    "piccard",
    "pytheas",
    "quiros",
    "reis",
    "ross",
    "rossby",
    "sabine",
    "scoresby",
    "scripps",
    "shackleton",
    "slocum",
    "steller",
    "stommel",
    "sverdrup",
    "tasman",
    "tharp",
    "thomson",
    "vancouver",
    "verne",
    "vespucci",
    "weddell",
    "wegener",
    "zheng",
];

/// A name picked by chance, or `None` when the kernel has no randomness to give. It may be taken: the caller
/// tries again.
pub fn random() -> Option<Name> {
    let mut bytes = [0u8; 8];
    crate::sys::random::fill(&mut bytes).ok()?;
    let [a, b, c, d, ..] = bytes;
    let pick = |words: &'static [&'static str], x: u8, y: u8| {
        words[usize::from(u16::from_le_bytes([x, y])) % words.len()]
    };
    format!("{}_{}", pick(&ADJECTIVES, a, b), pick(&SURNAMES, c, d)).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_distinct_and_make_names() {
        let adjectives: HashSet<_> = ADJECTIVES.iter().collect();
        let surnames: HashSet<_> = SURNAMES.iter().collect();
        assert_eq!((adjectives.len(), surnames.len()), (ADJECTIVES.len(), SURNAMES.len()));
        let drawn: HashSet<_> = (0..100).map(|_| random().unwrap().to_string()).collect();
        assert!(drawn.len() > 90, "{drawn:?}");
    }
}
