//! [`Connection`]: what is under way between its two ends, and how it ends.

use super::NetFaults;
use crate::testkit::draw::Draw;
use actors::Tick;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// Bytes under way in one direction; fewer where reads and writes are short.
const WINDOW: usize = 64 * 1024;
const WINDOWS_SMALL: [usize; 3] = [512, 4096, WINDOW];

/// After how many bytes at most a connection breaks that is to break, and how late lost segments come, in milliseconds.
const BREAKS_WITHIN: u64 = 64 * 1024;
const SENT_AGAIN_MS: (u64, u64) = (200, 1500);

/// Fewer bytes than any frame has that the chaos sends.
const FRAME_MIN: usize = 24;

/// How late after a heal what was held back comes, at most, in milliseconds.
const HEALED_MAX_MS: u64 = 3000;

/// Two ends, each with a way to the other.
pub(super) struct Connection {
    pub(super) hosts: [usize; 2],
    ways: [Way; 2],
    reset: bool,
    /// How many frames may have been lost that the end that connected had sent.
    lost: Arc<AtomicU64>,
    /// After so many more bytes it breaks.
    fuse: Option<u64>,
    faults: Arc<NetFaults>,
    draw: Draw,
}

/// What one end sends.
struct Way {
    under_way: VecDeque<(Tick, Bytes)>,
    size: usize,
    window: usize,
    /// Nothing comes before what was sent before.
    last: Tick,
    lag_ms: u64,
    /// Since when nothing arrives.
    held: Option<Tick>,
    /// When the other end is told that there is no more.
    fin: Option<Tick>,
    /// Its end is in no process any more, so that nobody reads either.
    gone: bool,
    /// Its host would say so, if asked.
    answers: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What there is to read.
pub(super) enum Read {
    /// So many bytes were taken.
    Some,
    /// There will be no more.
    End,
    /// Not yet; at that moment if it is known.
    Later(Option<Tick>),
}

impl Connection {
    pub(super) fn new(
        hosts: [usize; 2],
        now: Tick,
        faults: Arc<NetFaults>,
        mut draw: Draw,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let fuse = draw.per_mille(faults.resets).then(|| draw.below(BREAKS_WITHIN));
        let mut way = || Way {
            under_way: VecDeque::new(),
            size: 0,
            window: if faults.short_io > 0 { WINDOWS_SMALL[draw.index(WINDOWS_SMALL.len())] } else { WINDOW },
            last: now,
            lag_ms: 0,
            held: None,
            fin: None,
            gone: false,
            answers: true,
            reader: None,
            writer: None,
        };
        let ways = [way(), way()];
        Self { hosts, ways, reset: false, lost, fuse, faults, draw }
    }

    // ---- what the ends do

    /// Takes of `bytes` what there is room for, at least one byte; none if there is no room.
    pub(super) fn write(&mut self, side: usize, bytes: &[u8], now: Tick, waker: &Waker) -> io::Result<Option<usize>> {
        let other = &self.ways[1 - side];
        if !self.reset && other.gone && other.fin.is_none() && other.answers {
            self.reset();
        }
        if self.reset || self.ways[side].fin.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.ways[1 - side].gone
            && let Some(fin) = self.ways[1 - side].fin
        {
            // Closed over there; this end does not know it before it can.
            if fin <= now {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.loses(side, bytes.len());
            return Ok(Some(bytes.len()));
        }
        let is_short = self.draw.per_mille(self.faults.short_io);
        let way = &mut self.ways[side];
        let room = bytes.len().min(way.window - way.size);
        if room == 0 && !bytes.is_empty() {
            way.writer = Some(waker.clone());
            return Ok(None);
        }
        let mut taken = if is_short { 1 + self.draw.index(room.max(1)).min(room.saturating_sub(1)) } else { room };
        if let Some(fuse) = &mut self.fuse {
            taken = taken.min(*fuse as usize);
            *fuse -= taken as u64;
        }
        if taken > 0 {
            let (least, most) = self.faults.delay_ms;
            let lost = self.draw.per_mille(self.faults.loss);
            let again = if lost { self.draw.between(SENT_AGAIN_MS.0, SENT_AGAIN_MS.1) } else { 0 };
            let delay = self.draw.between(least.into(), most.into()) + way.lag_ms + again;
            way.last = way.last.max(now + Duration::from_millis(delay));
            way.size += taken;
            way.under_way.push_back((way.last, Bytes::copy_from_slice(&bytes[..taken])));
            way.wake_reader();
        }
        if self.fuse == Some(0) && !bytes.is_empty() {
            self.reset();
            if taken == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        Ok(Some(taken))
    }

    /// Puts what has arrived into `buffer`.
    pub(super) fn read(
        &mut self,
        side: usize,
        buffer: &mut tokio::io::ReadBuf<'_>,
        now: Tick,
        waker: &Waker,
    ) -> io::Result<Read> {
        if self.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let is_short = self.draw.per_mille(self.faults.short_io);
        let most = if is_short { 1 + self.draw.index(buffer.remaining().max(1)) } else { buffer.remaining() };
        let way = &mut self.ways[1 - side];
        let mut left = most.min(buffer.remaining());
        if way.held.is_some() {
            way.reader = Some(waker.clone());
            return Ok(Read::Later(None));
        }
        let before = left;
        while left > 0
            && let Some((due, bytes)) = way.under_way.front_mut()
            && *due <= now
        {
            let part = bytes.split_to(bytes.len().min(left));
            buffer.put_slice(&part);
            left -= part.len();
            way.size -= part.len();
            if bytes.is_empty() {
                way.under_way.pop_front();
            }
        }
        if left < before || before == 0 {
            way.writer.take().into_iter().for_each(Waker::wake);
            return Ok(Read::Some);
        }
        let next = way.under_way.front().map(|(due, _)| *due).or(way.fin);
        if way.under_way.is_empty() && way.fin.is_some_and(|fin| fin <= now) {
            return Ok(Read::End);
        }
        way.reader = Some(waker.clone());
        Ok(Read::Later(next))
    }

    /// This end sends no more.
    pub(super) fn close(&mut self, side: usize, now: Tick) {
        let least = self.faults.delay_ms.0.into();
        let way = &mut self.ways[side];
        if way.fin.is_none() {
            way.last = way.last.max(now + Duration::from_millis(least));
            way.fin = Some(way.last);
            way.wake_reader();
        }
    }

    /// This end was let go of by a process that goes on.
    pub(super) fn drop_end(&mut self, side: usize, now: Tick) {
        if !self.ways[side].gone {
            self.close(side, now);
            self.ways[side].gone = true;
            self.loses(1 - side, self.ways[1 - side].size);
            // Who waits for room waits in vain.
            self.ways[1 - side].wake_writer();
        }
    }

    // ---- what is done to it

    pub(super) fn reset(&mut self) {
        self.reset = true;
        (0..2).for_each(|side| self.loses(side, self.ways[side].size));
        for way in &mut self.ways {
            way.under_way.clear();
            way.size = 0;
            way.wake_reader();
            way.wake_writer();
        }
    }

    /// The process at `host` is over.
    pub(super) fn end_of(&mut self, host: usize) {
        for side in 0..2 {
            if self.hosts[side] == host {
                self.ways[side].gone = true;
                self.ways[side].writer = None;
                self.ways[1 - side].reader = None;
            }
        }
    }

    /// So many bytes of that end do not arrive. Frames go from the end that connected, and of the first a part may have.
    fn loses(&self, side: usize, bytes: usize) {
        if side == 0 && bytes > 0 {
            self.lost.fetch_add(1 + bytes.div_ceil(FRAME_MIN) as u64, Ordering::Relaxed);
        }
    }

    /// Whether the host of either end answers what it knows nothing of. If it does, the other end is told at once.
    pub(super) fn set_answers(&mut self, answers: [bool; 2]) {
        for (side, answers) in answers.into_iter().enumerate() {
            let way = &mut self.ways[side];
            let was = std::mem::replace(&mut way.answers, answers);
            // A connection of a process that ended: the kernel says so right away, if anybody can hear it.
            if way.gone && way.fin.is_none() && answers && was && !self.reset {
                self.reset();
            }
        }
    }

    pub(super) fn set_held(&mut self, side: usize, held: bool, now: Tick) {
        let way = &mut self.ways[side];
        match (way.held, held) {
            (None, true) => way.held = Some(now),
            (Some(since), false) => {
                way.held = None;
                let longest = ((now - since).as_millis() as u64).min(HEALED_MAX_MS);
                let late = now + Duration::from_millis(self.draw.below(longest + 1));
                way.last = way.last.max(late);
                way.under_way.iter_mut().for_each(|(due, _)| *due = (*due).max(late));
                way.fin = way.fin.map(|fin| fin.max(late));
                way.wake_reader();
            }
            _ => {}
        }
    }

    pub(super) fn set_lag(&mut self, side: usize, lag_ms: u64) {
        self.ways[side].lag_ms = lag_ms;
    }

    pub(super) fn set_faults(&mut self, faults: &Arc<NetFaults>) {
        if !Arc::ptr_eq(&self.faults, faults) {
            self.faults = faults.clone();
            if faults.resets == 0 {
                self.fuse = None;
            }
        }
    }
}

impl Way {
    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}
