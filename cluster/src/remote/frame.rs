//! Frames: a length of four bytes, big-endian, and that many bytes.
//!
//! The limit is checked before room is made: a frame that is too large is refused by its header alone. Room grows by doubling
//! and only as bytes come, so that a decoder never has more than for four frames and two reads, whatever is claimed. After a
//! bad header nothing that follows can be trusted: the decoder stays broken, and the connection is to be closed.

use super::frames::Frames;
use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

/// Bytes of a header.
pub(crate) const HEADER: usize = 4;

/// How many bytes are read at once, at most.
pub(crate) const READ_MAX: usize = 64 * 1024;

/// The least room that is made before a read: an idle connection holds no more.
const READ_MIN: usize = 4 * 1024;

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Its header alone says so. Nothing of it was read.
    #[error("a frame of {size} bytes, more than the {max} of this lane")]
    TooLarge { size: usize, max: usize },
    #[error("an empty frame: each says what it is in its first byte")]
    Empty,
    /// The other side ended amid a frame.
    #[error("the connection ended {missing} bytes before the end of a frame")]
    Truncated { missing: usize },
}

/// Appends `parts`, one after another, as one frame to `out`.
///
/// # Errors
/// The frame is empty or larger than `max`. `out` is as it was.
pub(crate) fn encode(max: usize, parts: &[&[u8]], out: &mut BytesMut) -> Result<(), FrameError> {
    let size = parts.iter().map(|part| part.len()).sum();
    check(size, max)?;
    out.reserve(HEADER + size);
    encode_header(max, size, out)?;
    parts.iter().for_each(|part| out.put_slice(part));
    Ok(())
}

/// Appends the header of a frame of `size` bytes, which are to follow.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_header(max: usize, size: usize, out: &mut BytesMut) -> Result<(), FrameError> {
    check(size, max)?;
    out.put_u32(u32::try_from(size).map_err(|_| FrameError::TooLarge { size, max })?);
    Ok(())
}

/// Finds frames in bytes as they come, however they are split.
///
/// Fill [`room`](Self::room), then call [`next`](Self::next) until there is none, and so on; [`end`](Self::end) when no
/// more will come.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    max: usize,
    buffer: BytesMut,
    /// Room for this many is made next: it grows while reads fill it, and falls back when they do not.
    ahead: usize,
    broken: Option<FrameError>,
}

impl FrameDecoder {
    /// Refuses frames of more than `max` bytes, header not counted.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, buffer: BytesMut::new(), ahead: READ_MIN, broken: None }
    }

    /// Whether all that came was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// From the next frame on: after a handshake a lane has a limit of its own.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Where to put what is read next: never more than [`READ_MAX`] bytes.
    pub(crate) fn room(&mut self) -> Limit<&mut BytesMut> {
        let ahead = self.ahead;
        self.buffer.reserve(ahead);
        (&mut self.buffer).limit(ahead)
    }

    /// How many bytes at the front are frames that have come whole. [`next`](Self::next) tells of what follows them.
    pub(crate) fn whole(&self) -> usize {
        let mut rest = &self.buffer[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let size = u32::from_be_bytes(*header) as usize;
            match after.get(size..) {
                Some(after) if check(size, self.max).is_ok() => rest = after,
                _ => break,
            }
        }
        self.buffer.len() - rest.len()
    }

    /// The frames in that many bytes at the front, which are whole.
    pub(crate) fn frames(&self, whole: usize) -> Frames<'_> {
        Frames::new(&self.buffer[..whole])
    }

    /// These are done with.
    pub(crate) fn consume(&mut self, whole: usize) {
        self.buffer.advance(whole);
        self.ahead = if self.buffer.is_empty() { READ_MIN } else { READ_MAX };
    }

    /// The next frame that has come whole.
    ///
    /// # Errors
    /// The bytes are no frames; the same again at each later call.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let Some(size) = self.size() else { return Ok(None) };
        if let Err(error) = check(size, self.max) {
            self.buffer = BytesMut::new();
            self.broken = Some(error.clone());
            return Err(error);
        }
        let held = self.buffer.len() - HEADER;
        if held < size {
            // A frame that takes many reads gets larger ones, but none beyond its claim: claims cost nothing.
            self.ahead = (self.ahead * 2).min(size - held).clamp(READ_MIN, READ_MAX);
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let frame = self.buffer.split_to(size).freeze();
        self.ahead = if self.buffer.is_empty() { READ_MIN } else { READ_MAX };
        Ok(Some(frame))
    }

    /// No more bytes will come.
    ///
    /// # Errors
    /// They ended amid a frame.
    pub(crate) fn end(&self) -> Result<(), FrameError> {
        match (&self.broken, self.size()) {
            (Some(error), _) => Err(error.clone()),
            (None, None) if self.buffer.is_empty() => Ok(()),
            (None, None) => Err(FrameError::Truncated { missing: HEADER - self.buffer.len() }),
            (None, Some(size)) => {
                Err(FrameError::Truncated { missing: (HEADER + size).saturating_sub(self.buffer.len()) })
            }
        }
    }

    /// Bytes it holds room for.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// As the header says, once there is one.
    fn size(&self) -> Option<usize> {
        let header = self.buffer.first_chunk::<HEADER>()?;
        Some(u32::from_be_bytes(*header) as usize)
    }
}

fn check(size: usize, max: usize) -> Result<(), FrameError> {
    match size {
        0 => Err(FrameError::Empty),
        _ if size > max => Err(FrameError::TooLarge { size, max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 300;

    /// Hands `bytes` over in pieces of these sizes, over and over, and collects the frames.
    fn read(decoder: &mut FrameDecoder, bytes: &[u8], pieces: &[usize]) -> Result<Vec<Bytes>, FrameError> {
        read_all(decoder, bytes, pieces, false)
    }

    /// `where_they_lie`: all there are at a time, and not one by one.
    fn read_all(
        decoder: &mut FrameDecoder,
        mut bytes: &[u8],
        pieces: &[usize],
        where_they_lie: bool,
    ) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = Vec::new();
        let mut pieces = pieces.iter().cycle();
        while !bytes.is_empty() {
            let mut room = decoder.room();
            let piece = (*pieces.next().unwrap()).clamp(1, bytes.len()).min(room.remaining_mut());
            room.put_slice(&bytes[..piece]);
            bytes = &bytes[piece..];
            if where_they_lie {
                let whole = decoder.whole();
                frames.extend(decoder.frames(whole).map(Bytes::copy_from_slice));
                decoder.consume(whole);
            }
            while let Some(frame) = decoder.next()? {
                assert!(!where_they_lie, "all that are whole were taken");
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_by_its_header_alone() {
        let mut decoder = FrameDecoder::new(MAX);
        let header = u32::MAX.to_be_bytes();
        assert_eq!(read(&mut decoder, &header[..3], &[1]), Ok(vec![]), "nothing is known before the header is whole");
        let refused = FrameError::TooLarge { size: u32::MAX as usize, max: MAX };
        assert_eq!(read(&mut decoder, &header[3..], &[1]), Err(refused.clone()));
        assert_eq!(decoder.capacity(), 0, "no room was made for it");
        assert_eq!(read(&mut decoder, &[0, 0, 0, 1, 7], &[9]), Err(refused.clone()), "nor is what follows believed");
        assert_eq!(decoder.end(), Err(refused));
    }

    #[test]
    fn the_largest_frame_passes_and_one_byte_more_does_not() {
        let mut out = BytesMut::new();
        encode(MAX, &[&[1; MAX - 1], &[2]], &mut out).unwrap();
        let before = out.clone();
        assert_eq!(encode(MAX, &[&[1; MAX], &[2]], &mut out), Err(FrameError::TooLarge { size: MAX + 1, max: MAX }));
        assert_eq!(encode(MAX, &[], &mut out), Err(FrameError::Empty));
        assert_eq!(out, before, "what was refused left nothing");
        for where_they_lie in [false, true] {
            let read =
                |max, bytes: &[u8]| read_all(&mut FrameDecoder::new(max), bytes, &[HEADER + MAX], where_they_lie);
            assert_eq!(read(MAX, &out).unwrap()[0].len(), MAX);
            assert_eq!(read(MAX - 1, &out), Err(FrameError::TooLarge { size: MAX, max: MAX - 1 }));
            assert_eq!(read(MAX, &[0; 5]), Err(FrameError::Empty));
        }
    }

    #[test]
    fn a_claim_costs_no_memory_before_bytes_come() {
        let mut decoder = FrameDecoder::new(2 * 1024 * 1024);
        read(&mut decoder, &(2 * 1024 * 1024_u32).to_be_bytes(), &[4]).unwrap();
        decoder.room();
        assert!(decoder.capacity() <= 2 * READ_MIN + 2 * HEADER, "{}", decoder.capacity());
    }

    #[test]
    fn an_end_amid_a_frame_is_told_from_one_between_frames() {
        let mut decoder = FrameDecoder::new(MAX);
        assert_eq!(decoder.end(), Ok(()));
        read(&mut decoder, &[0, 0], &[2]).unwrap();
        assert_eq!(decoder.end(), Err(FrameError::Truncated { missing: 2 }));
        read(&mut decoder, &[0, 3, 9], &[3]).unwrap();
        assert_eq!(decoder.end(), Err(FrameError::Truncated { missing: 2 }));
        assert_eq!(read(&mut decoder, &[9, 9], &[2]).unwrap(), [Bytes::from_static(&[9, 9, 9])]);
        assert_eq!(decoder.end(), Ok(()));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_over_any_split(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..=MAX), 0..20),
            pieces in proptest::collection::vec(1_usize..700, 1..10),
            where_they_lie: bool,
        ) {
            let mut wire = BytesMut::new();
            payloads.iter().for_each(|payload| encode(MAX, &[payload], &mut wire).unwrap());
            let mut decoder = FrameDecoder::new(MAX);
            prop_assert_eq!(read_all(&mut decoder, &wire, &pieces, where_they_lie).unwrap(), payloads);
            prop_assert_eq!(decoder.end(), Ok(()));
        }

        #[test]
        fn garbage_never_panics_and_makes_room_for_a_few_frames_and_reads_at_most(
            garbage in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..3000),
            pieces in proptest::collection::vec(1_usize..700, 1..10),
            where_they_lie: bool,
        ) {
            let mut decoder = FrameDecoder::new(MAX);
            let mut rest = &garbage[..];
            for piece in pieces.iter().cycle().take(3000) {
                let Some(part) = rest.get(..(*piece).min(rest.len())).filter(|part| !part.is_empty()) else { break };
                rest = &rest[part.len()..];
                let broken = read_all(&mut decoder, part, &[1000], where_they_lie).is_err();
                prop_assert!(decoder.capacity() <= 2 * (2 * (HEADER + MAX) + READ_MAX));
                prop_assert!(!broken || decoder.next().is_err());
            }
        }
    }
}
