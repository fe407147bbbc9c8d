//! One module per library, and `raw` for the channel that all ratios are taken to.

#[cfg(feature = "libraries")]
pub mod actix;
#[cfg(feature = "libraries")]
pub mod coerce;
#[cfg(feature = "libraries")]
pub mod elfo;
#[cfg(feature = "floors")]
pub mod floor;
#[cfg(feature = "libraries")]
pub mod kameo;
pub mod ours;
#[cfg(feature = "libraries")]
pub mod ractor;
pub mod raw;
#[cfg(feature = "libraries")]
pub mod xtra;
