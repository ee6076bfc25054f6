//! The compiler: for each architecture a binary search over ranges of numbers with one answer each; where an answer
//! depends on arguments, a short block of comparisons.

use std::collections::BTreeMap;

use super::profile::{Arg, Op, Profile, Rule};
use super::{Error, Result, table_aarch64, table_i386, table_x86_64};

/// Instructions that the kernel takes (`BPF_MAXINSNS`).
const LIMIT: usize = 4096;

const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_I386: u32 = 0x4000_0003;
const ARCH_AARCH64: u32 = 0xc000_00b7;
const X32_BIT: u32 = 0x4000_0000;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

// Offsets in struct seccomp_data; both machines are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const LOAD: u16 = 0x20;
const RET: u16 = 0x06;
const JUMP: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const AND: u16 = 0x54;

/// Arguments that the kernel takes as 32-bit values on 64-bit machines: what stands above must not count.
const INT_ARGS: [(&str, &[u8]); 16] = [
    ("socket", &[0, 1, 2]),
    ("socketpair", &[0, 1, 2]),
    ("personality", &[0]),
    ("clone", &[0]),
    ("ioctl", &[0, 1]),
    ("fcntl", &[0, 1]),
    ("prctl", &[0]),
    ("setns", &[0, 1]),
    ("keyctl", &[0]),
    ("bpf", &[0]),
    ("setsockopt", &[0, 1, 2]),
    ("getsockopt", &[0, 1, 2]),
    ("madvise", &[2]),
    ("futex", &[1]),
    ("mount_setattr", &[0, 2]),
    ("memfd_create", &[1]),
];

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// What happens at one number.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Return(u32),
    /// Indices into the rules, most restrictive first, then the word where none matches.
    Ask(Vec<usize>, u32, Vec<bool>),
}

/// Assembles the filter for a process that may use the capabilities of the mask, on a kernel of that version. The
/// bytes are an array of `struct sock_filter` in the machine's byte order.
pub fn compile(profile: &Profile, capabilities: u64, kernel: (u32, u32)) -> Result<Vec<u8>> {
    let rules: Vec<&Rule> = profile.rules.iter().filter(|r| r.applies(capabilities, kernel)).collect();
    let (arch, table) = match cfg!(target_arch = "aarch64") {
        true => (ARCH_AARCH64, table_aarch64::TABLE),
        false => (ARCH_X86_64, table_x86_64::TABLE),
    };
    let kill = vec![op(RET, libc::SECCOMP_RET_KILL_PROCESS)];
    let native = match profile.native {
        true => tree(&ranges(profile.default, &rules, table, true), &rules, arch == ARCH_X86_64)?,
        false => kill.clone(),
    };
    let other = match profile.i386 {
        true => {
            let inner = tree(&ranges(profile.default, &rules, table_i386::TABLE, false), &rules, false)?;
            branch(JEQ, ARCH_I386, inner, kill)
        }
        false => kill,
    };
    let mut program = vec![op(LOAD, ARCH)];
    program.extend(branch(JEQ, arch, native, other));
    if program.len() > LIMIT {
        return Err(Error::Profile(format!("{} instructions, the kernel's limit is {LIMIT}", program.len())));
    }
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for i in &program {
        bytes.extend(i.code.to_ne_bytes());
        bytes.extend([i.jt, i.jf]);
        bytes.extend(i.k.to_ne_bytes());
    }
    Ok(bytes)
}

/// `if A <code> k then yes else no`; both must end in RET. Conditional jumps reach 255 instructions, JUMP any.
fn branch(code: u16, k: u32, yes: Vec<Instruction>, no: Vec<Instruction>) -> Vec<Instruction> {
    let mut program = Vec::with_capacity(yes.len() + no.len() + 2);
    match u8::try_from(no.len()) {
        Ok(distance) => program.push(Instruction { code, jt: distance, jf: 0, k }),
        Err(_) => {
            program.push(Instruction { code, jt: 0, jf: 1, k });
            program.push(op(JUMP, u32::try_from(no.len()).unwrap_or(u32::MAX)));
        }
    }
    program.extend(no);
    program.extend(yes);
    program
}

/// The answers as ranges: each entry counts from its number up to the next one's.
fn ranges(default: u32, rules: &[&Rule], table: &[(&str, u32)], wide: bool) -> Vec<(u32, Answer)> {
    let by_name: BTreeMap<&str, u32> = table.iter().copied().collect();
    let mut found: BTreeMap<u32, (&str, Vec<usize>)> =
        table.iter().map(|(name, number)| (*number, (*name, Vec::new()))).collect();
    for (index, rule) in rules.iter().enumerate() {
        for number in rule.names.iter().filter_map(|n| by_name.get(n.as_str())) {
            if let Some((_, list)) = found.get_mut(number) {
                list.push(index);
            }
        }
    }
    let is_errno = default & 0xffff_0000 == libc::SECCOMP_RET_ERRNO;
    let unknown = Answer::Return(if is_errno { ENOSYS } else { default });
    let mut list: Vec<(u32, Answer)> = vec![(0, unknown.clone())];
    let mut put = |number: u32, answer: Answer| {
        if list.last().is_some_and(|(n, _)| *n == number) {
            list.pop();
        }
        if list.last().is_none_or(|(_, last)| *last != answer) {
            list.push((number, answer));
        }
    };
    for (number, (name, indices)) in found {
        put(number, answer(default, rules, name, &indices, wide));
        put(number + 1, unknown.clone());
    }
    list
}

fn answer(default: u32, rules: &[&Rule], name: &str, indices: &[usize], wide: bool) -> Answer {
    // The kernel's own order of severity is that of the words as signed numbers.
    let severity = |index: &usize| rules[*index].action.cast_signed();
    let (plain, mut asked): (Vec<usize>, Vec<usize>) =
        indices.iter().partition(|i| rules[**i].args.is_empty());
    let fallback = plain.iter().min_by_key(|i| severity(i)).map_or(default, |i| rules[*i].action);
    asked.sort_by_key(severity);
    if asked.is_empty() {
        return Answer::Return(fallback);
    }
    let ints = INT_ARGS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, args)| *args);
    // i386 arguments have 32 bits; comparing the upper half would compare nothing.
    let full = (0..6).map(|arg| wide && !ints.contains(&arg)).collect();
    Answer::Ask(asked, fallback, full)
}

/// Expects the architecture checked; loads the number and searches.
fn tree(ranges: &[(u32, Answer)], rules: &[&Rule], x32: bool) -> Result<Vec<Instruction>> {
    let mut program = vec![op(LOAD, NUMBER)];
    let found = search(ranges, rules)?;
    match x32 {
        // Numbers are compared unsigned: -1 and everything else with the bit goes here too.
        true => program.extend(branch(JGE, X32_BIT, vec![op(RET, ENOSYS)], found)),
        false => program.extend(found),
    }
    Ok(program)
}

fn search(ranges: &[(u32, Answer)], rules: &[&Rule]) -> Result<Vec<Instruction>> {
    match ranges {
        [(_, Answer::Return(word))] => Ok(vec![op(RET, *word)]),
        [(_, Answer::Ask(indices, fallback, full))] => ask(indices, *fallback, full, rules),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            Ok(branch(JGE, high[0].0, search(high, rules)?, search(low, rules)?))
        }
    }
}

fn ask(indices: &[usize], fallback: u32, full: &[bool], rules: &[&Rule]) -> Result<Vec<Instruction>> {
    let mut program = Vec::new();
    for index in indices {
        let rule = rules[*index];
        let mut block: Vec<Step> = Vec::new();
        for arg in &rule.args {
            let condition = condition(arg, full[usize::from(arg.index)]);
            let end = block.len() + condition.len();
            block.extend(condition.into_iter().map(|s| s.placed(end)));
        }
        let end = block.len();
        for (at, step) in block.iter().enumerate() {
            program.push(step.resolved(at, end + 1)?);
        }
        program.push(op(RET, rule.action));
    }
    program.push(op(RET, fallback));
    Ok(program)
}

/// Where a comparison goes on.
#[derive(Debug, Clone, Copy)]
enum To {
    Next,
    /// The condition holds: on to the next one, or to the rule's action.
    Pass,
    /// The rule does not match: on to the next rule.
    Fail,
    At(usize),
}

#[derive(Debug, Clone, Copy)]
struct Step {
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

impl Step {
    /// Pass becomes the position after the condition.
    fn placed(mut self, end: usize) -> Self {
        for to in [&mut self.yes, &mut self.no] {
            if matches!(to, To::Pass) {
                *to = To::At(end);
            }
        }
        self
    }

    fn resolved(&self, at: usize, fail: usize) -> Result<Instruction> {
        let distance = |to: To| {
            let target = match to {
                To::Next | To::Pass => at + 1,
                To::Fail => fail,
                To::At(target) => target,
            };
            u8::try_from(target - at - 1)
                .map_err(|_| Error::Profile("a rule has too many conditions".to_owned()))
        };
        if !matches!(self.code, JEQ | JGT | JGE) {
            return Ok(op(self.code, self.k));
        }
        Ok(Instruction { code: self.code, jt: distance(self.yes)?, jf: distance(self.no)?, k: self.k })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a 64-bit value")]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// One comparison of a 64-bit argument, upper half first; of a 32-bit one, the lower half alone.
fn condition(arg: &Arg, full: bool) -> Vec<Step> {
    let (high, low) = halves(arg.value);
    let (high_two, low_two) = halves(arg.value_two);
    let word = ARGS + 8 * u32::from(arg.index);
    let step = |code, k, yes, no| Step { code, k, yes, no };
    let load = |offset| step(LOAD, offset, To::Next, To::Next);
    let mut steps = Vec::new();
    // (yes, no) for the comparisons that are another one turned round.
    let (pass, fail) = match arg.op {
        Op::Ne | Op::Lt | Op::Le => (To::Fail, To::Pass),
        _ => (To::Pass, To::Fail),
    };
    if full {
        steps.push(load(word + 4));
        match arg.op {
            Op::Eq | Op::Ne => steps.push(step(JEQ, high, To::Next, fail)),
            Op::MaskedEq => {
                steps.push(step(AND, high, To::Next, To::Next));
                steps.push(step(JEQ, high_two, To::Next, fail));
            }
            Op::Gt | Op::Ge | Op::Lt | Op::Le => {
                steps.push(step(JGT, high, pass, To::Next));
                steps.push(step(JEQ, high, To::Next, fail));
            }
        }
    }
    steps.push(load(word));
    match arg.op {
        Op::Eq | Op::Ne => steps.push(step(JEQ, low, pass, fail)),
        Op::MaskedEq => {
            steps.push(step(AND, low, To::Next, To::Next));
            steps.push(step(JEQ, low_two, pass, fail));
        }
        Op::Gt | Op::Le => steps.push(step(JGT, low, pass, fail)),
        Op::Ge | Op::Lt => steps.push(step(JGE, low, pass, fail)),
    }
    steps
}
