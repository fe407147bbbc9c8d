//! Bytes of what nodes say to each other about actors: messages, answers, ends, and room.
//!
//! Numbers are written seven bits a byte, the lowest first. Whatever is read comes from elsewhere: nothing is made room for
//! before it is there.

use super::circles::HOPS_MAX;
use actors::TraceContext;
use std::io::Write;

/// What a frame is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing: sent to be met.
    Hello = 0,
    Message = 1,
    Answer = 2,
    /// There is no answer.
    NoAnswer = 3,
    /// The actor is not there any more.
    Gone = 4,
    /// So many messages of [`actors::ActorRef::send`] were taken.
    Granted = 5,
    /// Asks for [`Kind::Granted`].
    Probe = 6,
    /// All that an actor said before its end came before this.
    Flush = 7,
    /// A question came to one of those who asked for it; see [`super::circles`].
    Circle = 8,
    /// Whoever asked that awaits it.
    Awaits = 9,
    /// It goes in a circle.
    Cycle = 10,
    /// System messages from here on.
    Watch = 16,
    Unwatch = 17,
    Terminated = 18,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Hello,
            1 => Self::Message,
            2 => Self::Answer,
            3 => Self::NoAnswer,
            4 => Self::Gone,
            5 => Self::Granted,
            6 => Self::Probe,
            7 => Self::Flush,
            8 => Self::Circle,
            9 => Self::Awaits,
            10 => Self::Cycle,
            16 => Self::Watch,
            17 => Self::Unwatch,
            18 => Self::Terminated,
            _ => return None,
        })
    }
}

const NAMED: u8 = 1;
const SENT: u8 = 1 << 1;
const DEADLINE: u8 = 1 << 2;
const TRACED: u8 = 1 << 3;
const ASKS: u8 = 1 << 4;
const LINKED: u8 = 1 << 5;

/// Bytes at the end of a message with [`ReplyTo`](actors::ReplyTo)s in it.
const ASKS_LEN: usize = 9;

/// Bytes of a well-known actor's name.
pub(super) const NAME_MAX: usize = 256;

/// An actor, as the node it lives on finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To<'a> {
    /// By the number under which its reference went out.
    Id(u64),
    /// By what it is known as.
    Name(&'a str),
}

/// The number of a message of [`actors::ActorRef::send`]: which row, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) row: u64,
    pub(super) number: u64,
}

/// What is written before a message's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) to: To<'a>,
    pub(super) numbered: Option<Numbered>,
    /// Microseconds that whoever asked still waits.
    pub(super) remaining: Option<u64>,
    pub(super) trace: Option<TraceContext>,
    /// Of a question that an actor asked in the handling of a message: by which nodes that came, if it was asked itself.
    pub(super) hops: Option<Vec<Hop>>,
    pub(super) type_number: u32,
    pub(super) version: u32,
}

/// The [`ReplyTo`](actors::ReplyTo)s in one message: their numbers begin with `message`, shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asks {
    pub(super) message: u64,
    pub(super) count: u8,
}

/// An ask from one node to another that waits for what is asked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// The life whose actor asks.
    pub(super) from: u64,
    /// The life it asks.
    pub(super) to: u64,
    /// The `ReplyTo`s of the question, which tell it from all others between the two.
    pub(super) asks: Asks,
}

impl Asks {
    /// As one number.
    pub(super) fn packed(self) -> u64 {
        self.message << 8 | u64::from(self.count)
    }

    pub(super) fn unpacked(packed: u64) -> Self {
        Self { message: packed >> 8, count: packed as u8 }
    }

    /// The number of one of them.
    pub(super) fn number(self, index: u8) -> u64 {
        self.message << 8 | u64::from(index)
    }

    pub(super) fn numbers(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| self.number(index))
    }
}

impl Head<'_> {
    /// Begins a message at the end of `out`, which is empty.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(matches!(self.to, To::Name(_)), NAMED)
            | flag(self.numbered.is_some(), SENT)
            | flag(self.remaining.is_some(), DEADLINE)
            | flag(self.trace.is_some(), TRACED)
            | flag(self.hops.is_some(), LINKED);
        out.extend([Kind::Message as u8, flags]);
        put_to(out, self.to);
        if let Some(Numbered { row, number }) = self.numbered {
            put(out, row);
            put(out, number);
        }
        self.remaining.into_iter().for_each(|remaining| put(out, remaining));
        if let Some(trace) = &self.trace {
            let before = out.len();
            out.push(0);
            let written = write!(out, "{trace}");
            out[before] = if written.is_ok() { (out.len() - before - 1) as u8 } else { 0 };
            put_bytes(out, trace.state().as_str().as_bytes());
        }
        if let Some(hops) = &self.hops {
            out.push(hops.len().min(HOPS_MAX) as u8);
            for Hop { from, to, asks } in hops.iter().take(HOPS_MAX) {
                out.extend(from.to_le_bytes());
                out.extend(to.to_le_bytes());
                put(out, asks.packed());
            }
        }
        put(out, self.type_number.into());
        put(out, self.version.into());
    }

    /// Ends a message in which these asks went out.
    pub(super) fn end(out: &mut Vec<u8>, asks: Option<Asks>) {
        if let Some(Asks { message, count }) = asks {
            out[1] |= ASKS;
            out.extend(message.to_le_bytes());
            out.push(count);
        }
    }
}

/// A message that came; the kind is read already.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) head: Head<'a>,
    pub(super) asks: Option<Asks>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// `None`: it is none.
    pub(super) fn read(mut rest: &'a [u8]) -> Option<Self> {
        let flags = take_byte(&mut rest)?;
        let is = |flag: u8| flags & flag != 0;
        let asks = take_asks(&mut rest, flags)?;
        let to = take_to(&mut rest, is(NAMED))?;
        let numbered = if is(SENT) { Some(Numbered { row: take(&mut rest)?, number: take(&mut rest)? }) } else { None };
        let remaining = if is(DEADLINE) { Some(take(&mut rest)?) } else { None };
        let trace = if is(TRACED) { take_trace(&mut rest)? } else { None };
        let hops = if is(LINKED) { Some(take_hops(&mut rest)?) } else { None };
        let type_number = u32::try_from(take(&mut rest)?).ok()?;
        let version = u32::try_from(take(&mut rest)?).ok()?;
        Some(Self { head: Head { to, numbered, remaining, trace, hops, type_number, version }, asks, bytes: rest })
    }
}

/// A trace that is none is no reason to drop a message.
fn take_trace(rest: &mut &[u8]) -> Option<Option<TraceContext>> {
    let length = take_byte(rest)?;
    let parent = split(rest, length.into())?;
    let state = take_bytes(rest)?;
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    Some(TraceContext::from_headers(text(parent), text(state)).ok())
}

/// No more than there may be, and room is made for those that are there.
fn take_hops(rest: &mut &[u8]) -> Option<Vec<Hop>> {
    let count = usize::from(take_byte(rest)?);
    let uid = |rest: &mut &[u8]| {
        let (uid, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(u64::from_le_bytes(*uid))
    };
    let hop = |_| Some(Hop { from: uid(rest)?, to: uid(rest)?, asks: Asks::unpacked(take(rest)?) });
    (count <= HOPS_MAX).then(|| (0..count).map(hop).collect())?
}

/// A frame of a kind and numbers alone.
pub(super) fn numbers<const N: usize>(kind: Kind, numbers: [u64; N]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 10 * N);
    out.push(kind as u8);
    numbers.into_iter().for_each(|number| put(&mut out, number));
    out
}

/// The numbers of a frame that has no more than that; the kind is read already.
pub(super) fn read_numbers<const N: usize>(mut rest: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = take(&mut rest)?;
    }
    rest.is_empty().then_some(numbers)
}

/// [`Kind::Watch`]: this is the number of the watch.
pub(super) fn watch(number: u64, to: To<'_>) -> Vec<u8> {
    let mut out = vec![Kind::Watch as u8, u8::from(matches!(to, To::Name(_)))];
    put(&mut out, number);
    put_to(&mut out, to);
    out
}

/// As [`watch`] wrote it; the kind is read already.
pub(super) fn read_watch(mut rest: &[u8]) -> Option<(u64, To<'_>)> {
    let named = take_byte(&mut rest)? != 0;
    let number = take(&mut rest)?;
    let to = take_to(&mut rest, named)?;
    rest.is_empty().then_some((number, to))
}

/// [`Kind::Probe`].
pub(super) fn probe(to: To<'_>, Numbered { row, number }: Numbered) -> Vec<u8> {
    let mut out = vec![Kind::Probe as u8, u8::from(matches!(to, To::Name(_)))];
    put(&mut out, row);
    put(&mut out, number);
    put_to(&mut out, to);
    out
}

/// As [`probe`] wrote it; the kind is read already.
pub(super) fn read_probe(mut rest: &[u8]) -> Option<(To<'_>, Numbered)> {
    let named = take_byte(&mut rest)? != 0;
    let numbered = Numbered { row: take(&mut rest)?, number: take(&mut rest)? };
    let to = take_to(&mut rest, named)?;
    rest.is_empty().then_some((to, numbered))
}

/// Begins an answer at the end of `out`, which is empty; its own bytes and [`Head::end`] come after it.
pub(super) fn begin_answer(out: &mut Vec<u8>, number: u64) {
    out.extend([Kind::Answer as u8, 0]);
    put(out, number);
}

/// An answer: its number, the asks in it, and its own bytes; the kind is read already.
pub(super) fn read_answer(mut rest: &[u8]) -> Option<(u64, Option<Asks>, &[u8])> {
    let flags = take_byte(&mut rest)?;
    let asks = take_asks(&mut rest, flags)?;
    Some((take(&mut rest)?, asks, rest))
}

/// The asks at the end, where there are any.
fn take_asks(rest: &mut &[u8], flags: u8) -> Option<Option<Asks>> {
    if flags & ASKS == 0 {
        return Some(None);
    }
    let (before, asks) = rest.split_at_checked(rest.len().checked_sub(ASKS_LEN)?)?;
    *rest = before;
    let (message, count) = asks.split_first_chunk::<8>()?;
    Some(Some(Asks { message: u64::from_le_bytes(*message), count: count[0] }))
}

fn put_to(out: &mut Vec<u8>, to: To<'_>) {
    match to {
        To::Id(id) => put(out, id),
        To::Name(name) => put_bytes(out, name.as_bytes()),
    }
}

fn take_to<'a>(rest: &mut &'a [u8], named: bool) -> Option<To<'a>> {
    if !named {
        return take(rest).map(To::Id);
    }
    let name = take_bytes(rest)?;
    std::str::from_utf8(name).ok().filter(|name| name.len() <= NAME_MAX).map(To::Name)
}

/// Appends a number: seven bits a byte, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number of at most ten bytes.
pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(super) fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}

pub(super) fn split<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// Appends a length and bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// As [`put_bytes`] wrote them.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(rest)?).ok()?;
    split(rest, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace() -> impl Strategy<Value = Option<TraceContext>> {
        let some = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = |state: &str| TraceContext::from_headers(some, state).ok();
        prop_oneof![Just(None), Just(context("")), Just(context("vendor=1,other=a b"))]
    }

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in(
            id: u64,
            name in proptest::option::of("[a-z/]{0,40}"),
            numbered in proptest::option::of((any::<u64>(), any::<u64>())),
            remaining: Option<u64>,
            trace in trace(),
            hops in proptest::option::of(proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..=HOPS_MAX)),
            type_number: u32,
            version: u32,
            asks in proptest::option::of((any::<u64>(), any::<u8>())),
            body in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let to = name.as_deref().map_or(To::Id(id), To::Name);
            let numbered = numbered.map(|(row, number)| Numbered { row, number });
            let hop = |(from, to, asks)| Hop { from, to, asks: Asks::unpacked(asks) };
            let hops = hops.map(|hops| hops.into_iter().map(hop).collect());
            let head = Head { to, numbered, remaining, trace, hops, type_number, version };
            let asks = asks.map(|(message, count)| Asks { message, count });
            let mut out = Vec::new();
            head.write(&mut out);
            out.extend(&body);
            Head::end(&mut out, asks);
            prop_assert_eq!(Kind::of(out[0]), Some(Kind::Message));
            let read = Incoming::read(&out[1..]).unwrap();
            prop_assert_eq!((read.head, read.asks, read.bytes), (head, asks, &body[..]));
        }

        #[test]
        fn more_hops_than_may_be_are_no_frame(count in HOPS_MAX as u8 + 1..) {
            let bytes = [&[LINKED, 1, count][..], &[0; 255 * 17 + 2]].concat();
            prop_assert!(Incoming::read(&bytes).is_none());
            let bytes = [&[LINKED, 1, HOPS_MAX as u8][..], &[0; 255 * 17 + 2]].concat();
            prop_assert!(Incoming::read(&bytes).is_some());
        }

        #[test]
        fn garbage_is_no_frame_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Incoming::read(&bytes), read_watch(&bytes), read_numbers::<2>(&bytes));
            let _ = (read_probe(&bytes), read_answer(&bytes));
        }

        #[test]
        fn numbers_come_out_as_they_went_in(one: u64, two: u64) {
            let frame = numbers(Kind::Probe, [one, two]);
            prop_assert_eq!(read_numbers(&frame[1..]), Some([one, two]));
            prop_assert_eq!(read_numbers::<1>(&frame[1..]), None);
            let frame = watch(one, To::Id(two));
            prop_assert_eq!(read_watch(&frame[1..]), Some((one, To::Id(two))));
            let frame = watch(one, To::Name("a/b"));
            prop_assert_eq!(read_watch(&frame[1..]), Some((one, To::Name("a/b"))));
        }
    }
}
