//! Answers as bytes, in the `meta` of what is stored. Rows written by other programs may hold anything there: what does
//! not begin like ours is none of ours.
//!
//! ```text
//! answer:  C0 01  body                      window:  C1 01  count:u32  (time_ms:u64 body)*
//! body:    fingerprint:u128  id: u16 bytes  0 | 1 reply: u32 bytes | 2 size:u64        all big-endian
//! ```

use super::{Answered, CommandId, ID_BYTES_MAX, KeptReply};
use crate::CodecError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const ANSWER: u8 = 0xC0;
const WINDOW: u8 = 0xC1;
const VERSION: u8 = 1;

const NOTHING: u8 = 0;
const REPLY: u8 = 1;
const TOO_LARGE: u8 = 2;

/// One answer, for the first event of what its command stored. Its time is the event's.
#[must_use]
pub fn encode_answered(answered: &Answered) -> Bytes {
    let mut bytes = BytesMut::with_capacity(2 + answered.weight());
    bytes.put_slice(&[ANSWER, VERSION]);
    put_body(&mut bytes, answered);
    bytes.freeze()
}

/// Reads what [`encode_answered`] of this or an earlier version wrote; `None` for the meta of another program.
///
/// # Errors
/// For a version it does not know, and for bytes that no version wrote.
pub fn decode_answered(meta: &Bytes, time_ms: u64) -> Result<Option<Answered>, CodecError> {
    let Some(mut rest) = ours(meta, ANSWER)? else { return Ok(None) };
    let answered = take_body(&mut rest, time_ms)?;
    if rest.has_remaining() { Err(wrong()) } else { Ok(Some(answered)) }
}

/// All answers of a window, oldest first; `None` when there are none.
#[must_use]
pub fn encode_window(answers: &[Answered]) -> Option<Bytes> {
    if answers.is_empty() {
        return None;
    }
    let mut bytes = BytesMut::with_capacity(6 + answers.iter().map(|answered| 8 + answered.weight()).sum::<usize>());
    bytes.put_slice(&[WINDOW, VERSION]);
    bytes.put_u32(answers.len() as u32);
    for answered in answers {
        bytes.put_u64(answered.time_ms);
        put_body(&mut bytes, answered);
    }
    Some(bytes.freeze())
}

/// Reads what [`encode_window`] of this or an earlier version wrote; none for the meta of another program.
///
/// # Errors
/// As [`decode_answered`].
pub fn decode_window(meta: Option<&Bytes>) -> Result<Vec<Answered>, CodecError> {
    let Some(meta) = meta else { return Ok(Vec::new()) };
    let Some(mut rest) = ours(meta, WINDOW)? else { return Ok(Vec::new()) };
    let count = rest.try_get_u32().map_err(|_| wrong())?;
    let mut answers = Vec::new();
    for _ in 0..count {
        let time_ms = rest.try_get_u64().map_err(|_| wrong())?;
        answers.push(take_body(&mut rest, time_ms)?);
    }
    if rest.has_remaining() { Err(wrong()) } else { Ok(answers) }
}

fn put_body(bytes: &mut BytesMut, Answered { command, reply, .. }: &Answered) {
    bytes.put_u128(command.fingerprint);
    bytes.put_u16(command.id.len() as u16);
    bytes.put_slice(command.id.as_bytes());
    match reply {
        KeptReply::Nothing => bytes.put_u8(NOTHING),
        KeptReply::Reply(reply) => {
            bytes.put_u8(REPLY);
            bytes.put_u32(reply.len() as u32);
            bytes.put_slice(reply);
        }
        KeptReply::TooLarge { bytes: size } => {
            bytes.put_u8(TOO_LARGE);
            bytes.put_u64(*size);
        }
    }
}

fn take_body(rest: &mut Bytes, time_ms: u64) -> Result<Answered, CodecError> {
    let fingerprint = rest.try_get_u128().map_err(|_| wrong())?;
    let id_bytes = usize::from(rest.try_get_u16().map_err(|_| wrong())?);
    let id = take(rest, id_bytes).filter(|id| (1..=ID_BYTES_MAX).contains(&id.len())).ok_or_else(wrong)?;
    let id = std::str::from_utf8(&id).map_err(|_| wrong())?.into();
    let reply = match rest.try_get_u8().map_err(|_| wrong())? {
        NOTHING => KeptReply::Nothing,
        REPLY => {
            let size = rest.try_get_u32().map_err(|_| wrong())?;
            KeptReply::Reply(take(rest, size as usize).ok_or_else(wrong)?)
        }
        TOO_LARGE => KeptReply::TooLarge { bytes: rest.try_get_u64().map_err(|_| wrong())? },
        _ => return Err(wrong()),
    };
    Ok(Answered { command: CommandId { id, fingerprint }, reply, time_ms })
}

/// What follows mark and version, if this is ours.
fn ours(meta: &Bytes, mark: u8) -> Result<Option<Bytes>, CodecError> {
    match meta[..] {
        [first, VERSION, ..] if first == mark => Ok(Some(meta.slice(2..))),
        [first, version, ..] if first == mark => {
            Err(CodecError(format!("answered commands of version {version}; this program reads version {VERSION}")))
        }
        _ => Ok(None),
    }
}

fn take(rest: &mut Bytes, size: usize) -> Option<Bytes> {
    (size <= rest.remaining()).then(|| rest.split_to(size))
}

fn wrong() -> CodecError {
    CodecError("answered commands that no version of this program wrote".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answered() -> impl Strategy<Value = Answered> {
        let reply = prop_oneof![
            Just(KeptReply::Nothing),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| KeptReply::Reply(bytes.into())),
            any::<u64>().prop_map(|bytes| KeptReply::TooLarge { bytes }),
        ];
        ("[a-zé]{1,40}", any::<u128>(), reply, any::<u64>()).prop_map(|(id, fingerprint, reply, time_ms)| Answered {
            command: CommandId { id: id.into(), fingerprint },
            reply,
            time_ms,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(answers in proptest::collection::vec(answered(), 0..6)) {
            for one in &answers {
                prop_assert_eq!(decode_answered(&encode_answered(one), one.time_ms), Ok(Some(one.clone())));
            }
            prop_assert_eq!(decode_window(encode_window(&answers).as_ref()), Ok(answers));
        }

        /// Cut off or changed bytes are an error or something else, never a panic and never the same answers.
        #[test]
        fn damaged_bytes_are_not_believed(
            answers in proptest::collection::vec(answered(), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encode_window(&answers).unwrap();
            let shorter = bytes.slice(..cut.index(bytes.len()));
            prop_assert_ne!(decode_window(Some(&shorter)), Ok(answers));
        }

        #[test]
        fn any_bytes_can_be_tried(bytes in proptest::collection::vec(any::<u8>(), 0..60), ours in any::<bool>()) {
            let mut bytes = bytes;
            if ours {
                bytes.splice(0..0, [WINDOW, VERSION]);
            }
            let _ = decode_window(Some(&Bytes::from(bytes.clone())));
            if ours {
                bytes[0] = ANSWER;
            }
            let _ = decode_answered(&Bytes::from(bytes), 0);
        }
    }

    #[test]
    fn the_meta_of_others_is_left_alone_and_later_versions_are_not_guessed() {
        assert_eq!(decode_answered(&Bytes::from_static(b"{}"), 0), Ok(None));
        assert_eq!(decode_window(Some(&Bytes::new())), Ok(Vec::new()));
        let error = decode_window(Some(&Bytes::from_static(&[WINDOW, 2, 0]))).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}
