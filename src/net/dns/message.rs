//! DNS messages (RFC 1035), as far as a forwarder has to understand them: the header and the question.
//!
//! Not a message library of the field's: those parse whole messages and refuse, or rewrite, what they do not know. A
//! forwarder must let pass what it need not understand, and what it must understand is a screen of code.

use std::net::IpAddr;

/// Bytes of the header.
const HEADER: usize = 12;
/// The longest name on the wire, and the longest label.
const NAME: usize = 255;
const LABEL: usize = 63;

/// The longest message: its length is two bytes before it on TCP.
pub const LONGEST: usize = 65_535;

/// Types of records that mean something here.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
const NS: u16 = 2;
const SOA: u16 = 6;
const DS: u16 = 43;
const DNSKEY: u16 = 48;
const INTERNET: u16 = 1;

const FORMAT_ERROR: u8 = 1;
pub const SERVER_FAILURE: u8 = 2;
pub const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// Seconds for which an answer of this host's may be kept.
const TTL: u32 = 5;

/// A question, found in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Labels in lower case with dots between them, without the last dot; empty is the root.
    pub name: Vec<u8>,
    pub kind: u16,
    pub class: u16,
    /// Where in the message the question ends.
    end: usize,
}

/// What is to be done with a message from a container.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Question(Question),
    /// It is no question that anybody could answer; this is what to say.
    Bad(Vec<u8>),
    /// Not even that.
    Nothing,
}

/// Reads a message from a container.
pub fn asked(message: &[u8]) -> Asked {
    // Whoever answers answers could be made to do so for ever.
    if message.len() < HEADER || message.len() > LONGEST || is_answer(message) {
        return Asked::Nothing;
    }
    if (message[2] >> 3) & 0xf != 0 {
        return Asked::Bad(header_only(message, NOT_IMPLEMENTED));
    }
    match question(message) {
        Some(question) => Asked::Question(question),
        None => Asked::Bad(header_only(message, FORMAT_ERROR)),
    }
}

/// The question of a message that has exactly one.
fn question(message: &[u8]) -> Option<Question> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let (mut at, mut name) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            // Two high bits are a pointer, to what stands before: in the only question of a message that is nothing.
            _ if length > LABEL || at - HEADER + length > NAME - 1 => return None,
            _ => {}
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(message.get(at..at + length)?.to_ascii_lowercase());
        at += length;
    }
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    Some(Question { name, kind: word(at)?, class: word(at + 2)?, end: at + 4 })
}

impl Question {
    /// A host's name without any dot, as opposed to what is asked about a top level domain.
    pub fn is_single_label(&self) -> bool {
        !self.name.is_empty() && !self.name.contains(&b'.') && ![NS, SOA, DS, DNSKEY].contains(&self.kind)
    }

    pub fn is_internet(&self) -> bool {
        self.class == INTERNET
    }
}

fn is_answer(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

pub fn id(message: &[u8]) -> u16 {
    message.get(..2).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// The same message under another id.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut copy = message.to_vec();
    if let Some(place) = copy.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    copy
}

/// Whether `answer` belongs to `query`, which was sent under `id`: same id, same question.
pub fn belongs(answer: &[u8], query: &[u8], id_sent: u16) -> bool {
    let same = |a: Question, b: Question| (a.name, a.kind, a.class) == (b.name, b.kind, b.class);
    let (Some(theirs), Some(ours)) = (question(answer), question(query)) else { return false };
    answer.len() <= LONGEST && is_answer(answer) && id(answer) == id_sent && same(theirs, ours)
}

/// Whether another server may know better than one that answered so.
pub fn is_refusal(answer: &[u8]) -> bool {
    let code = answer.get(3).map_or(0, |flags| flags & 0xf);
    [SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED].contains(&code)
}

/// An answer without records.
pub fn answer(query: &[u8], question: &Question, code: u8) -> Vec<u8> {
    let mut message = query[..question.end.min(query.len())].to_vec();
    flag(&mut message, code);
    message[6..HEADER].fill(0);
    message
}

/// An answer with those of `addresses` that the question is about.
pub fn answer_addresses(query: &[u8], question: &Question, addresses: &[IpAddr]) -> Vec<u8> {
    let mut message = answer(query, question, 0);
    let mut count = 0u16;
    for address in addresses {
        let bytes = match (address, question.kind) {
            (IpAddr::V4(v4), A) => v4.octets().to_vec(),
            (IpAddr::V6(v6), AAAA) => v6.octets().to_vec(),
            _ => continue,
        };
        count += 1;
        // The name is the question's: a pointer to it.
        message.extend_from_slice(&[0xc0, 0x0c]);
        message.extend_from_slice(&question.kind.to_be_bytes());
        message.extend_from_slice(&INTERNET.to_be_bytes());
        message.extend_from_slice(&TTL.to_be_bytes());
        message.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
        message.extend_from_slice(&bytes);
    }
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message
}

fn header_only(query: &[u8], code: u8) -> Vec<u8> {
    let mut message = query[..HEADER].to_vec();
    flag(&mut message, code);
    message[4..HEADER].fill(0);
    message
}

/// An answer, recursion available; opcode and "recursion desired" stay as they were.
fn flag(message: &mut [u8], code: u8) {
    message[2] = 0x80 | (message[2] & 0x79);
    message[3] = 0x80 | code;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.').filter(|l| !l.is_empty()) {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        // An OPT record, which is nobody's business.
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        message
    }

    fn read(message: &[u8]) -> Question {
        match asked(message) {
            Asked::Question(question) => question,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn questions_are_read() {
        let question = read(&query("Web.Example.COM", AAAA));
        assert_eq!((question.name.as_slice(), question.kind), (&b"web.example.com"[..], AAAA));
        assert!(!question.is_single_label() && question.is_internet());
        assert!(read(&query("web", A)).is_single_label());
        assert!(!read(&query("com", NS)).is_single_label(), "a domain, not a host");
        assert!(!read(&query("", NS)).is_single_label(), "the root");
    }

    #[test]
    fn answers_repeat_the_question() {
        let query = query("web", A);
        let question = read(&query);
        let addresses = ["10.0.2.100".parse().unwrap(), "fd00::64".parse().unwrap()];
        let answer_ = answer_addresses(&query, &question, &addresses);
        assert!(belongs(&answer_, &query, 0xabcd) && !belongs(&answer_, &query, 1));
        assert_eq!(answer_[6..12], [0, 1, 0, 0, 0, 0]);
        assert_eq!(answer_[answer_.len() - 4..], [10, 0, 2, 100]);
        let none = answer(&query, &question, NO_SUCH_NAME);
        assert_eq!((none[2], none[3], none.len()), (0x81, 0x83, 12 + 5 + 4));
        assert!(is_refusal(&answer(&query, &question, REFUSED)) && !is_refusal(&none));
        let other = super::tests::query("wet", A);
        assert!(!belongs(&answer_, &other, 0xabcd), "another question");
        assert!(!belongs(&query, &query, 0xabcd), "a query is no answer");
    }

    #[test]
    fn what_is_no_question_is_refused_or_passed_over() {
        let good = query("a.b", A);
        for length in 0..good.len() {
            match asked(&good[..length]) {
                Asked::Nothing => assert!(length < HEADER),
                Asked::Bad(answer) => assert_eq!((answer.len(), answer[3] & 0xf), (HEADER, FORMAT_ERROR)),
                Asked::Question(_) => assert!(length >= 21, "cut off at {length}"),
            }
        }
        let changed = |at: usize, to: u8| {
            let mut message = good.clone();
            message[at] = to;
            asked(&message)
        };
        assert_eq!(changed(2, 0x80), Asked::Nothing, "an answer");
        assert!(matches!(changed(2, 0x28), Asked::Bad(answer) if answer[3] & 0xf == NOT_IMPLEMENTED));
        for (at, to) in [(5, 2), (5, 0), (12, 0xc0), (12, 64), (12, 63)] {
            assert!(matches!(changed(at, to), Asked::Bad(_)), "{at} {to}");
        }
        let long = vec!["x".repeat(63); 4].join(".");
        assert!(matches!(asked(&query(&long, A)), Asked::Bad(_)), "257 bytes");
        assert!(matches!(asked(&query(&long[..253], A)), Asked::Question(_)), "255 bytes");
        assert_eq!(asked(&vec![0; LONGEST + 1]), Asked::Nothing);
    }
}
