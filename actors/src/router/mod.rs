//! Routers: one reference for several actors.
//!
//! A router is an actor that knows its routees ([`PoolRouter`]: its children, [`GroupRouter`]: those under a key) and a
//! table it shares with its references. Senders look at the table and send to the routee themselves; the actor only
//! replaces the table. That a router is the [`Recipient`](crate::actor_ref::Recipient) behind a common reference, and
//! not a type of its own, is what lets one stand wherever an actor does.
//!
//! - [`logic`]: who is next. [`ring`]: consistent hashing. [`members`]: who is in a pool.
//! - [`route`]: the table, and the stash until it is known. [`send`]: the verbs that wait or make their message late.

mod group;
mod logic;
mod members;
mod pool;
mod ring;
mod route;
mod send;

pub use self::group::GroupRouter;
pub use self::logic::RoutingLogic;
pub use self::pool::{PoolRef, PoolRouter};
pub use self::ring::key_hash;
pub(crate) use self::route::Router;
