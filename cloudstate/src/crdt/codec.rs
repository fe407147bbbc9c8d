//! Values as bytes, canonically: equal states have equal bytes, and only those bytes are taken for them. So copies can be
//! compared by a hash of their bytes.
//!
//! A version byte, then the value: a byte for its kind, then its parts. Numbers are LEB128 in as few bytes as possible,
//! replica ids and timestamps eight bytes (big endian), byte strings have their length in front, collections their size.
//! Everything that has no order is ascending; what a value never holds (zero shares, keys without dots, touching ranges) is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::dot_map::DotMap;
use super::lww_register::Write;
use super::{
    CausalContext, Crdt, Dot, Element, Flag, GCounter, GSet, Kind, LwwRegister, OrMap, OrSet, PnCounter, ReplicaId,
    Vote,
};

/// The first byte.
const VERSION: u8 = 1;

/// Longer input is not decoded.
pub const MAX_ENCODED_BYTES: usize = 64 << 20;

/// How many levels of maps, with the innermost value, may be nested in each other.
pub const MAX_DEPTH: usize = 32;

/// Numbers that are only ever counted up by one end here, so that counting on cannot overflow.
const MAX_COUNT: u64 = i64::MAX as u64;

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_ENCODED_BYTES`].
    #[error(
        "a replicated value of {0} bytes is larger than the {MAX_ENCODED_BYTES} bytes allowed; split it over several keys"
    )]
    TooLarge(usize),
    /// Made by another version.
    #[error("format version {0} of a replicated value is not known (known: {VERSION}); update this node")]
    Version(u8),
    /// Not what [`Crdt::encode`] writes.
    #[error("malformed replicated value at byte {at}: {problem}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
}

impl Crdt {
    /// The value as bytes. Equal values give equal bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        write_crdt(&mut out, self);
        Bytes::from(out)
    }

    /// The value of which [`Crdt::encode`] made exactly these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Crdt, DecodeError> {
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(DecodeError::TooLarge(bytes.len()));
        }
        let mut reader = Reader { bytes, at: 0, last_type: Arc::from("") };
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let value = read_crdt(&mut reader, 1)?;
        if reader.at < bytes.len() {
            return Err(reader.malformed("bytes after the end"));
        }
        Ok(value)
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::GCounter => 1,
            Kind::PnCounter => 2,
            Kind::GSet => 3,
            Kind::OrSet => 4,
            Kind::LwwRegister => 5,
            Kind::Flag => 6,
            Kind::OrMap => 7,
            Kind::Vote => 8,
        }
    }
}

fn write_crdt(out: &mut Vec<u8>, value: &Crdt) {
    out.push(value.kind().code());
    match value {
        Crdt::GCounter(counter) => write_counts(out, &counter.shares),
        Crdt::PnCounter(counter) => {
            write_counts(out, &counter.added.shares);
            write_counts(out, &counter.taken.shares);
        }
        Crdt::GSet(set) => {
            write_number(out, set.elements.len() as u64);
            for element in &set.elements {
                write_element(out, element);
            }
        }
        Crdt::OrSet(set) => write_dot_map(out, &set.0, |_, ()| {}),
        Crdt::LwwRegister(register) => match &register.write {
            None => out.push(0),
            Some(write) => {
                out.push(1);
                out.extend_from_slice(&write.timestamp.to_be_bytes());
                write_replica(out, write.replica);
                write_number(out, write.repeat);
                write_element(out, &write.value);
            }
        },
        Crdt::Flag(flag) => out.push(u8::from(flag.enabled)),
        Crdt::OrMap(map) => write_dot_map(out, &map.0, write_crdt),
        Crdt::Vote(vote) => write_counts(out, &vote.turns),
    }
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn write_replica(out: &mut Vec<u8>, replica: ReplicaId) {
    out.extend_from_slice(&replica.0.to_be_bytes());
}

fn write_element(out: &mut Vec<u8>, element: &Element) {
    for bytes in [element.type_url.as_bytes(), &element.value] {
        write_number(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn write_counts(out: &mut Vec<u8>, counts: &BTreeMap<ReplicaId, u64>) {
    write_number(out, counts.len() as u64);
    for (replica, count) in counts {
        write_replica(out, *replica);
        write_number(out, *count);
    }
}

fn write_dot_map<V>(out: &mut Vec<u8>, map: &DotMap<V>, write_value: impl Fn(&mut Vec<u8>, &V)) {
    write_number(out, map.context.ranges.len() as u64);
    for (replica, ranges) in &map.context.ranges {
        write_replica(out, *replica);
        write_number(out, ranges.len() as u64);
        for (start, end) in ranges {
            write_number(out, *start);
            write_number(out, end - start);
        }
    }
    write_number(out, map.entries.len() as u64);
    for (key, dots) in &map.entries {
        write_element(out, key);
        write_number(out, dots.len() as u64);
        for (dot, value) in dots {
            write_replica(out, dot.replica);
            write_number(out, dot.counter);
            write_value(out, value);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Elements of a set mostly have one type: they share its name.
    last_type: Arc<str>,
}

impl<'a> Reader<'a> {
    fn malformed(&self, problem: &'static str) -> DecodeError {
        DecodeError::Malformed { at: self.at, problem }
    }

    fn check(&self, holds: bool, problem: &'static str) -> Result<(), DecodeError> {
        if holds { Ok(()) } else { Err(self.malformed(problem)) }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.malformed("it ends too early")),
        }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn eight(&mut self) -> Result<[u8; 8], DecodeError> {
        Ok(self.take(8)?.try_into().expect("eight bytes were taken"))
    }

    fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        Ok(ReplicaId(u64::from_be_bytes(self.eight()?)))
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for position in 0..10 {
            let byte = self.byte()?;
            self.check(position < 9 || byte <= 1, "a number of more than 64 bits")?;
            number |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                self.check(byte != 0 || position == 0, "a number in more bytes than it needs")?;
                return Ok(number);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }

    fn count(&mut self) -> Result<u64, DecodeError> {
        let number = self.number()?;
        self.check(number <= MAX_COUNT, "a count beyond 63 bits")?;
        Ok(number)
    }

    fn element(&mut self) -> Result<Element, DecodeError> {
        let length = self.number()?;
        let type_url =
            std::str::from_utf8(self.take(length)?).map_err(|_| self.malformed("a type URL that is no text"))?;
        if *self.last_type != *type_url {
            self.last_type = Arc::from(type_url);
        }
        let length = self.number()?;
        Ok(Element { type_url: Arc::clone(&self.last_type), value: Bytes::copy_from_slice(self.take(length)?) })
    }

    /// Reads as many entries as the number in front says, which must ascend.
    fn map<K: Ord, V>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(K, V), DecodeError>,
    ) -> Result<BTreeMap<K, V>, DecodeError> {
        let mut map = BTreeMap::new();
        for _ in 0..self.number()? {
            let (key, value) = entry(self)?;
            let ascends = map.last_key_value().is_none_or(|(last, _)| *last < key);
            self.check(ascends, "a collection that is not in ascending order")?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

fn read_crdt(reader: &mut Reader<'_>, depth: usize) -> Result<Crdt, DecodeError> {
    reader.check(depth <= MAX_DEPTH, "too many maps in each other")?;
    Ok(match reader.byte()? {
        1 => Crdt::GCounter(read_g_counter(reader)?),
        2 => Crdt::PnCounter(PnCounter { added: read_g_counter(reader)?, taken: read_g_counter(reader)? }),
        3 => {
            let elements = reader.map(|reader| Ok((reader.element()?, ())))?;
            Crdt::GSet(GSet { elements: elements.into_keys().collect() })
        }
        4 => Crdt::OrSet(OrSet(read_dot_map(reader, |_| Ok(()))?)),
        5 => Crdt::LwwRegister(read_register(reader)?),
        6 => Crdt::Flag(Flag { enabled: read_bool(reader)? }),
        7 => Crdt::OrMap(OrMap(read_dot_map(reader, |reader| read_crdt(reader, depth + 1))?)),
        8 => {
            let turns = reader.map(|reader| Ok((reader.replica()?, reader.count()?)))?;
            reader.check(turns.values().all(|&turns| turns > 0), "a vote that was never cast")?;
            Crdt::Vote(Vote { turns })
        }
        _ => return Err(reader.malformed("an unknown kind of value")),
    })
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed("a byte that is neither 0 nor 1")),
    }
}

fn read_g_counter(reader: &mut Reader<'_>) -> Result<GCounter, DecodeError> {
    let shares = reader.map(|reader| Ok((reader.replica()?, reader.number()?)))?;
    reader.check(shares.values().all(|&share| share > 0), "a share of nothing")?;
    Ok(GCounter { shares })
}

fn read_register(reader: &mut Reader<'_>) -> Result<LwwRegister, DecodeError> {
    if !read_bool(reader)? {
        return Ok(LwwRegister { write: None });
    }
    let timestamp = i64::from_be_bytes(reader.eight()?);
    let (replica, repeat, value) = (reader.replica()?, reader.count()?, reader.element()?);
    Ok(LwwRegister { write: Some(Write { timestamp, replica, repeat, value }) })
}

fn read_dot_map<V>(
    reader: &mut Reader<'_>,
    read_value: impl Fn(&mut Reader<'_>) -> Result<V, DecodeError>,
) -> Result<DotMap<V>, DecodeError> {
    let context = CausalContext { ranges: reader.map(|reader| Ok((reader.replica()?, read_ranges(reader)?)))? };
    let mut used = BTreeSet::new();
    let entries = reader.map(|reader| {
        let key = reader.element()?;
        let dots = reader.map(|reader| {
            let dot = Dot { replica: reader.replica()?, counter: reader.count()? };
            reader.check(context.contains(&dot), "a dot that its context does not have")?;
            reader.check(used.insert(dot), "a dot under two keys")?;
            Ok((dot, read_value(reader)?))
        })?;
        reader.check(!dots.is_empty(), "a key without dots")?;
        Ok((key, dots))
    })?;
    Ok(DotMap { entries, context })
}

fn read_ranges(reader: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, DecodeError> {
    let mut ranges = Vec::new();
    let mut free_from = 1;
    for _ in 0..reader.number()? {
        let start = reader.count()?;
        reader.check(start >= free_from, "ranges that overlap or touch, or start at 0")?;
        let end = start.checked_add(reader.count()?).filter(|end| *end <= MAX_COUNT);
        let end = end.ok_or_else(|| reader.malformed("a range beyond 63 bits"))?;
        ranges.push((start, end));
        free_from = end + 2;
    }
    reader.check(!ranges.is_empty(), "a replica without ranges")?;
    Ok(ranges)
}
