//! One module per library, and `raw` for the channel that all ratios are taken to.

pub mod actix;
pub mod coerce;
pub mod elfo;
#[cfg(feature = "floors")]
pub mod floor;
pub mod kameo;
pub mod ours;
pub mod ractor;
pub mod raw;
pub mod xtra;
