//! [`Frames`] and [`Bodies`]: frames that came together, where they lie.

use super::frame::HEADER;

/// Frames, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// `bytes` are frames with their headers, all of them whole and none of them empty.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Stretches of frames with the same first byte, in order.
    pub(crate) fn by_channel(self) -> impl Iterator<Item = (u8, Bodies<'a>)> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let (all, mut after) = (rest.0, rest.clone());
            let channel = *after.next()?.first()?;
            while after.0.get(HEADER) == Some(&channel) {
                after.next();
            }
            rest = after;
            Some((channel, Bodies(Self(&all[..all.len() - rest.0.len()]))))
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (header, rest) = self.0.split_first_chunk::<HEADER>()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*header) as usize)?;
        self.0 = rest;
        Some(frame)
    }
}

/// Frames without their first byte.
#[derive(Clone, Debug)]
pub(crate) struct Bodies<'a>(Frames<'a>);

impl<'a> Iterator for Bodies<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next().map(|frame| frame.get(1..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::frame::encode;
    use bytes::BytesMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stretches_of_one_channel_hold_all_bodies_in_order(
            sent in proptest::collection::vec((0_u8..3, proptest::collection::vec(any::<u8>(), 0..5)), 0..20),
        ) {
            let mut wire = BytesMut::new();
            sent.iter().for_each(|(channel, body)| encode(100, &[&[*channel], body], &mut wire).unwrap());
            let stretches: Vec<_> = Frames::new(&wire).by_channel().collect();
            let came: Vec<_> = stretches.iter()
                .flat_map(|(channel, bodies)| bodies.clone().map(|body| (*channel, body.to_vec()))).collect();
            prop_assert_eq!(came, sent);
            prop_assert!(stretches.windows(2).all(|pair| pair[0].0 != pair[1].0), "neighbours differ");
            prop_assert!(stretches.iter().all(|(_, bodies)| bodies.clone().next().is_some()));
        }
    }
}
