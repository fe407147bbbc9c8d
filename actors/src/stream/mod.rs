//! Actors at the ends of streams: an actor as a sink ([`ActorSink`], [`AcknowledgedSink`]), a stream that an actor handles
//! ([`pipe_stream_to_self`](crate::ActorContext::pipe_stream_to_self)), what an actor is told as a stream
//! ([`ActorSource`]).
//!
//! Operators are left to `futures`: what is here connects its `Sink` and `Stream` to actors, with a bound on everything
//! that waits.

mod acknowledged;
mod inbound;
mod sink;
mod source;

pub use self::acknowledged::AcknowledgedSink;
pub use self::sink::ActorSink;
pub use self::source::{ActorSource, Overflow};
